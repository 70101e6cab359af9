// A typical application's member on franz-go, for benches/rebalance: BOOTSTRAP GROUP TOPIC CLIENT PROTOCOL, where
// PROTOCOL is cooperative or kip848; all else is the library's default. Prints "start" when it subscribes, and for each
// record its value and the time in microseconds since the epoch; leaves the group when stdin ends. SESSION_MS is its
// session timeout; with REVOKE_MS its first revocation takes this long, and it prints "revoking" and "revoked".
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 6 {
		fail("usage: franz BOOTSTRAP GROUP TOPIC CLIENT cooperative|kip848")
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(os.Args[1]),
		kgo.ConsumerGroup(os.Args[2]),
		kgo.ConsumeTopics(os.Args[3]),
		kgo.ClientID(os.Args[4]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	switch os.Args[5] {
	case "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case "kip848":
		options = append(options, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	default:
		fail("no such protocol: " + os.Args[5])
	}
	if os.Getenv("FRANZ_LOG") != "" {
		options = append(options, kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelDebug, func() string {
			return time.Now().UTC().Format("15:04:05.000000 ")
		})))
	}
	if session, err := strconv.Atoi(os.Getenv("SESSION_MS")); err == nil {
		options = append(options, kgo.SessionTimeout(time.Duration(session)*time.Millisecond))
	}
	if revoke, err := strconv.Atoi(os.Getenv("REVOKE_MS")); err == nil {
		var once sync.Once
		options = append(options, kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) {
			once.Do(func() {
				write("revoking\n")
				time.Sleep(time.Duration(revoke) * time.Millisecond)
				write("revoked\n")
			})
		}))
	}
	stop, stopping := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stopping()
	}()
	write("start\n")
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail(err.Error())
	}
	for {
		fetches := client.PollFetches(stop)
		if stop.Err() != nil {
			break
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintln(os.Stderr, topic, partition, err)
		})
		at := append(strconv.AppendInt([]byte{' '}, time.Now().UnixMicro(), 10), '\n')
		var lines []byte
		fetches.EachRecord(func(record *kgo.Record) {
			lines = append(append(lines, record.Value...), at...)
		})
		write(string(lines))
	}
	client.Close() // commits and leaves
}

func write(text string) {
	if _, err := os.Stdout.WriteString(text); err != nil {
		os.Exit(1) // the output is closed
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

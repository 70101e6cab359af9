// franz-go for benches/peers: MODE SETTINGS BOOTSTRAP TOPIC PARTITIONS COUNT, as benches/README.md describes them.
// Tuned: with pools for records and decompressed data, each record recycled once it is counted (kgo.WithPools).
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) == 8 && os.Args[1] == "send" {
		send(os.Args[2:])
	}
	if len(os.Args) == 6 && os.Args[1] == "transact" {
		transact(os.Args[2:])
	}
	if len(os.Args) != 7 {
		fail("usage: franz MODE tuned|default BOOTSTRAP TOPIC PARTITIONS COUNT")
	}
	mode, tuned, topic := os.Args[1], os.Args[2] == "tuned", os.Args[4]
	partitions, count := number(os.Args[5]), number(os.Args[6])
	tally := begin(mode, count)
	from := kgo.NewOffset().AtStart()
	if mode == "latency" {
		from = kgo.NewOffset().AtEnd()
	}
	address, authority, secured := strings.Cut(os.Args[3], "+")
	options := []kgo.Opt{kgo.SeedBrokers(address), kgo.ConsumeResetOffset(from)}
	if secured {
		pem, err := os.ReadFile(authority)
		if err != nil {
			fail(err.Error())
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		options = append(options, kgo.DialTLSConfig(&tls.Config{RootCAs: roots}))
	}
	if tuned {
		options = append(options, kgo.WithPools(&pool{}))
	}
	switch mode {
	case "start-classic", "start-consumer":
		group := fmt.Sprintf("peers-%d-%d", os.Getpid(), time.Now().UnixMicro())
		options = append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
		if mode == "start-consumer" {
			options = append(options, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
		}
	default:
		all := make(map[int32]kgo.Offset)
		for partition := range partitions {
			all[int32(partition)] = from
		}
		options = append(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: all}))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail(err.Error())
	}
	for !tally.isDone() {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			fail(err.Error())
		}
		fetches.EachRecord(func(record *kgo.Record) {
			headers := 0
			for _, header := range record.Headers {
				headers += len(header.Key) + len(header.Value)
			}
			tally.add(len(record.Key), headers, record.Value)
			if tuned {
				record.Recycle()
			}
		})
	}
	tally.end()
}

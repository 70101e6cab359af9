package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const different = 1024

var words = []string{"placed", "paid", "packed", "shipped", "delivered", "returned", "lamp", "chair", "kettle", "notebook",
	"umbrella", "bicycle", "coffee", "tea", "scarf", "clock"}

// The values that every program sends: those of `offtake bench produce`.
func values(size int) [][]byte {
	all := make([][]byte, different)
	var text []byte
	random := uint32(1)
	for nth := range all {
		for len(text) < (nth+1)*size {
			random = random*1664525 + 1013904223
			text = append(text, words[(random>>24)%16]...)
			text = append(text, ' ')
		}
		text = text[:(nth+1)*size]
	}
	for nth := range all {
		all[nth] = text[nth*size : (nth+1)*size]
	}
	return all
}

// franz-go's producer: SETTINGS BOOTSTRAP TOPIC SIZE CODEC COUNT. Each record's promise is counted. Ends the process.
func send(args []string) {
	equal, topic, size, count := args[0] == "equal", args[2], int(number(args[3])), number(args[5])
	all := values(size)
	began := time.Now()
	user, sys, _ := usage()
	options := []kgo.Opt{kgo.SeedBrokers(args[1]), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks())}
	switch args[4] {
	case "none":
		options = append(options, kgo.ProducerBatchCompression(kgo.NoCompression()))
	case "lz4":
		options = append(options, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	default:
		fail("no such codec: " + args[4])
	}
	if equal {
		options = append(options, kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(65536))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail(err.Error())
	}
	var written, failed atomic.Int64
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Add(1)
		} else {
			written.Add(1)
		}
	}
	for nth := range count {
		client.Produce(context.Background(), &kgo.Record{Value: all[nth%different]}, promise)
	}
	if err := client.Flush(context.Background()); err != nil {
		fail(err.Error())
	}
	seconds := time.Since(began).Seconds()
	userNow, sysNow, peak := usage()
	if written.Load() != count || failed.Load() != 0 {
		fail(fmt.Sprintf("%d of %d records were written, %d were not", written.Load(), count, failed.Load()))
	}
	fmt.Printf(`{"records":%d,"bytes":%d,"seconds":%f,"user":%f,"sys":%f,"max_rss_kb":%d}`+"\n",
		count, count*int64(size), seconds, userNow-user, sysNow-sys, peak)
	os.Exit(0)
}

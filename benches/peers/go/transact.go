package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franz-go's transactions: MS BOOTSTRAP TOPIC SECONDS, each of 100 records and open for at least MS milliseconds. Ends
// the process.
func transact(args []string) {
	const records = 100
	open := time.Duration(number(args[0])) * time.Millisecond
	topic, limit := args[2], time.Duration(number(args[3]))*time.Second
	client, err := kgo.NewClient(kgo.SeedBrokers(args[1]), kgo.DefaultProduceTopic(topic), kgo.TransactionalID(topic))
	if err != nil {
		fail(err.Error())
	}
	ctx, value := context.Background(), make([]byte, 100)
	began, transactions := time.Now(), 0
	user, sys, _ := usage()
	for time.Since(began) < limit {
		since := time.Now()
		if err := client.BeginTransaction(); err != nil {
			fail(err.Error())
		}
		for range records {
			client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					fail(err.Error())
				}
			})
		}
		time.Sleep(open - time.Since(since))
		if err := client.Flush(ctx); err != nil {
			fail(err.Error())
		}
		if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			fail(err.Error())
		}
		transactions++
	}
	seconds := time.Since(began).Seconds()
	userNow, sysNow, _ := usage()
	fmt.Printf(`{"records":%d,"transactions":%d,"seconds":%f,"user":%f,"sys":%f}`+"\n",
		transactions*records, transactions, seconds, userNow-user, sysNow-sys)
	os.Exit(0)
}

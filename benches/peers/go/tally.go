package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Records of the warm-up, whose latency does not count.
const warmUp = 2000

// The counts, the same as in rust/src/common.rs.
type tally struct {
	mode                            string
	began, flowing                  time.Time
	user, sys                       float64
	wanted, records, bytes, headers int64
	first, sleeps                   int64
	late                            []int64
}

func begin(mode string, wanted int64) *tally {
	if mode == "latency" {
		wanted += warmUp
	}
	user, sys, _ := usage()
	// Milliseconds of sleep after this many thousand records.
	sleeps, _ := strconv.ParseInt(strings.TrimPrefix(mode, "sleep-"), 10, 64)
	return &tally{mode: mode, sleeps: sleeps, began: time.Now(), user: user, sys: sys, wanted: wanted}
}

func (t *tally) add(key, headers int, value []byte) {
	t.records++
	t.bytes += int64(key + len(value))
	t.headers += int64(headers)
	if t.records == 1 {
		t.flowing = time.Now()
	}
	if t.mode != "read" {
		t.look(value)
	}
}

func (t *tally) look(value []byte) {
	switch {
	case strings.HasPrefix(t.mode, "sleep-"):
		if t.records%(1000*t.sleeps) == 0 {
			time.Sleep(time.Duration(t.sleeps) * time.Millisecond)
		}
	case t.mode == "latency":
		if t.records > warmUp {
			words := strings.Split(string(value), " ")
			if at, err := strconv.ParseInt(words[len(words)-1], 10, 64); err == nil {
				t.late = append(t.late, time.Now().UnixMicro()-at)
			}
		}
	case t.first == 0:
		t.first = time.Now().UnixMicro()
	}
}

func (t *tally) isDone() bool {
	return t.records >= t.wanted || t.first != 0
}

// Prints the line and ends the process, as closing the client is not measured.
func (t *tally) end() {
	seconds := time.Since(t.began).Seconds()
	user, sys, peak := usage()
	slices.Sort(t.late)
	late := func(share float64) int64 {
		if len(t.late) == 0 {
			return -1
		}
		return t.late[int(float64(len(t.late)-1)*share)]
	}
	fmt.Printf(`{"records":%d,"bytes":%d,"header_bytes":%d,"seconds":%f,"flowing":%f,"user":%f,"sys":%f,"max_rss_kb":%d,`+
		`"first_at":%d,"p50":%d,"p99":%d,"p999":%d}`+"\n",
		t.records, t.bytes, t.headers, seconds, time.Since(t.flowing).Seconds(), user-t.user, sys-t.sys, peak, t.first, late(0.5), late(0.99), late(0.999))
	os.Exit(0)
}

// Seconds of user and of system time, and the peak resident memory, in KiB.
func usage() (float64, float64, int64) {
	var all syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &all); err != nil {
		fail(err.Error())
	}
	seconds := func(time syscall.Timeval) float64 { return float64(time.Sec) + float64(time.Usec)/1e6 }
	return seconds(all.Utime), seconds(all.Stime), all.Maxrss
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fail(err.Error())
	}
	return value
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

package main

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A pool for kgo.WithPools: slices that are used again.
type pool struct {
	records sync.Pool
	bytes   sync.Pool
}

func (p *pool) GetRecords(n int) []kgo.Record {
	if had, ok := p.records.Get().(*[]kgo.Record); ok && cap(*had) >= n {
		return (*had)[:0]
	}
	return make([]kgo.Record, 0, n)
}

func (p *pool) PutRecords(records []kgo.Record) {
	p.records.Put(&records)
}

func (p *pool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if had, ok := p.bytes.Get().(*[]byte); ok {
		return *had
	}
	return make([]byte, 0, 4*len(compressed))
}

func (p *pool) PutDecompressBytes(bytes []byte) {
	p.bytes.Put(&bytes)
}

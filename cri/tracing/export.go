package tracing

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// The queue's measures: a pod start is about 25 spans of 150 bytes.
const (
	maxQueue   = 8192 // spans; further ones are dropped
	maxBatch   = 512  // spans in one request
	sendEvery  = time.Second
	sendWithin = 10 * time.Second
	// complainEvery bounds how often a collector that is away is logged.
	complainEvery = time.Minute
)

// sender takes one encoded ExportTraceServiceRequest to the collector.
type sender interface {
	send(ctx context.Context, request []byte) error
	close() error
}

// exporter gathers spans and sends them in batches from one goroutine.
type exporter struct {
	out             sender
	resource, scope []byte
	log             *logrus.Logger
	dropped         atomic.Uint64

	mu     sync.Mutex
	queue  [][]byte
	closed bool
	full   chan struct{} // a batch is ready
	ending chan struct{}
	ended  chan struct{}

	complained time.Time // the sending goroutine's
}

func newExporter(out sender, o Options) *exporter {
	attrs := []attribute{{"service.name", "slipway"}, {"service.version", o.Version}, {"process.pid", int64(os.Getpid())}}
	if o.Node != "" {
		attrs = append(attrs, attribute{"host.name", o.Node}, attribute{"k8s.node.name", o.Node})
	}
	e := &exporter{
		out: out, resource: encodeResource(attrs...), scope: encodeScope("github.com/slipway-cri/slipway", o.Version), log: o.Log,
		full: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{}),
	}
	go e.run()
	return e
}

func (e *exporter) add(s span) {
	b := s.encode(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.queue) >= maxQueue {
		e.dropped.Add(1)
		return
	}
	e.queue = append(e.queue, b)
	if len(e.queue) >= maxBatch {
		select {
		case e.full <- struct{}{}:
		default:
		}
	}
}

func (e *exporter) take() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.queue), maxBatch)
	batch := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil // the batch has the array
	}
	return batch
}

func (e *exporter) run() {
	defer close(e.ended)
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.full:
		case <-e.ending:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), sendWithin)
		e.flush(ctx)
		cancel()
	}
}

// flush sends the whole queue. A batch that does not get through is lost: the collector's absence must
// not fill the agent's memory.
func (e *exporter) flush(ctx context.Context) {
	for {
		batch := e.take()
		if len(batch) == 0 {
			return
		}
		if err := e.out.send(ctx, request(e.resource, e.scope, batch)); err != nil {
			e.dropped.Add(uint64(len(batch)))
			if now := time.Now(); now.Sub(e.complained) > complainEvery {
				e.complained = now
				e.log.WithError(err).WithField("dropped", e.dropped.Load()).Warn("the collector of traces did not take the spans")
			}
		}
	}
}

func (e *exporter) close(ctx context.Context) error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	if again {
		return nil
	}
	close(e.ending)
	<-e.ended // at most sendWithin
	e.flush(ctx)
	return e.out.close()
}

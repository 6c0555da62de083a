// Package tracing makes OpenTelemetry spans of CRI calls and of the steps inside them, under the
// caller's span where it sent a traceparent, and exports them as OTLP over gRPC or HTTP. It is an
// observer of cri/server and knows of the agent only the seam in agent/steps. Spans that the collector
// does not take in time are dropped and counted: no call ever waits for one.
//
// Why there is no SDK in here: docs/decisions/0011-telemetry.md.
package tracing

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Options of a tracer; see Environment for what the environment adds.
type Options struct {
	Endpoint string // host:port of the collector
	HTTP     bool   // OTLP over HTTP (/v1/traces) instead of gRPC
	Insecure bool   // without TLS
	// Sampling is the share, 0 to 1, of calls traced where the caller has not decided; a
	// caller's own decision is followed.
	Sampling float64
	Version  string // of slipway
	Node     string // the machine's name, for the resource; "" = none
	Log      *logrus.Logger
}

// Tracer is an observer of calls (cri/server.Observer). Close it.
type Tracer struct {
	below uint64 // a random number below this one is sampled
	out   *exporter
}

// New starts the export; it connects when there is something to send.
func New(o Options) (*Tracer, error) {
	if !(o.Sampling >= 0 && o.Sampling <= 1) { // NaN is neither
		return nil, fmt.Errorf("tracing: sampling %v is not in 0 to 1: %w", o.Sampling, lifecycle.ErrInvalid)
	}
	if o.Log == nil {
		o.Log = logrus.StandardLogger()
	}
	send, err := newSender(o)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	t := &Tracer{below: math.MaxUint64, out: newExporter(send, o)}
	if o.Sampling < 1 {
		t.below = uint64(o.Sampling * math.MaxUint64)
	}
	return t, nil
}

// Close sends what is left, until ctx ends, and stops.
func (t *Tracer) Close(ctx context.Context) error { return t.out.close(ctx) }

// Dropped is how many spans were lost since the start: the queue was full, or the collector refused.
func (t *Tracer) Dropped() uint64 { return t.out.dropped.Load() }

// call is one traced call.
type call struct {
	t      *Tracer
	self   spanContext // TraceState is the parent's, passed through
	parent spanID
	began  time.Time
	attrs  []attribute
}

type callKey struct{}

// Begin implements server.Observer.
func (t *Tracer) Begin(ctx context.Context, method string, req any) context.Context {
	parent, ok := incoming(ctx)
	if !ok {
		parent = spanContext{}
		parent.Sampled = t.below == math.MaxUint64 || rand.Uint64() < t.below
	}
	if !parent.Sampled {
		return ctx
	}
	c := &call{t: t, self: parent, parent: parent.Span, began: time.Now(), attrs: callAttributes(method, req)}
	if !ok {
		c.self.Trace = newTraceID()
	}
	c.self.Span = newSpanID()
	return steps.Observe(context.WithValue(ctx, callKey{}, c), c)
}

// End implements server.Observer.
func (t *Tracer) End(ctx context.Context, method string, took time.Duration, err error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok || c.t != t {
		return
	}
	code := status.Code(err)
	s := span{
		spanContext: c.self, Parent: c.parent, Name: method[1:], Kind: kindServer,
		Start: c.began, End: c.began.Add(took),
		Attrs: append(c.attrs, attribute{"rpc.grpc.status_code", int64(code)}),
	}
	if err != nil {
		s.Failed, s.Message = true, status.Convert(err).Message()
	}
	t.out.add(s)
}

// Ran implements steps.Observer: a span a step, below it a span a lap.
func (c *call) Ran(began time.Time, all []steps.Took, err error) {
	for i, step := range all {
		failed := err != nil && i == len(all)-1
		s := c.inner(c.self.Span, began, step)
		if failed {
			s.Failed, s.Message = true, err.Error()
		}
		c.t.out.add(s)
		for _, lap := range step.Parts {
			c.t.out.add(c.inner(s.Span, began, lap))
		}
	}
}

func (c *call) inner(parent spanID, began time.Time, took steps.Took) span {
	s := span{spanContext: c.self, Parent: parent, Name: took.Name, Kind: kindInternal}
	s.Span = newSpanID()
	s.Start = began.Add(took.At)
	s.End = s.Start.Add(took.Took)
	return s
}

// incoming is the caller's span, from the call's metadata (W3C Trace Context).
func incoming(ctx context.Context) (spanContext, bool) {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return spanContext{}, false
	}
	parents := md.Get("traceparent")
	if len(parents) != 1 {
		return spanContext{}, false
	}
	c, ok := parseTraceparent(parents[0])
	if ok {
		c.State = tracestate(md.Get("tracestate"))
	}
	return c, ok
}

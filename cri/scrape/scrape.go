// Package scrape keeps the agent's own figures and shows them to Prometheus: calls and steps with
// their latency and errors, pods, containers and images, pulls, the monitor, the Go runtime and the
// process. It is an observer of cri/server. Figures of pods and containers (CPU, memory …) are CRI's
// business, not this package's.
//
// Locking: counters are atomics; Metrics.mu guards the map of steps alone. Why no client library:
// docs/decisions/0011-telemetry.md.
package scrape

import (
	"context"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Sources are where a scrape looks. A nil one is left out.
type Sources struct {
	Pods       func() []*pods.Pod
	Containers func() []*containers.Container
	Images     func() []*images.Image
	Pulls      func() images.Pulls
	// Reconnects is how often the connection to the monitor was made again.
	Reconnects func() uint64
	// SpansDropped is how many spans of traces were lost.
	SpansDropped func() uint64
	Version      string // of slipway
}

// Metrics is an observer of calls and the page that tells of them.
type Metrics struct {
	from  Sources
	calls map[string]*callFigures // by full method; not changed after New

	mu    sync.RWMutex
	steps map[stepName]*stepFigures
}

// maxCode is the highest gRPC code there is (codes.Unauthenticated).
const maxCode = codes.Unauthenticated

// callFigures are one method's. It is also the observer of the steps inside its calls.
type callFigures struct {
	m        *Metrics
	name     string
	endless  bool // a stream that lasts as long as its client wants: its duration means nothing
	inFlight atomic.Int64
	took     histogram
	codes    [maxCode + 1]atomic.Uint64
}

type stepName struct{ call, step string }

type stepFigures struct {
	took   histogram
	failed atomic.Uint64
}

// New makes the figures of the services' methods; calls of any other are not counted.
func New(from Sources, services ...grpc.ServiceDesc) *Metrics {
	m := &Metrics{from: from, calls: map[string]*callFigures{}, steps: map[stepName]*stepFigures{}}
	for _, s := range services {
		for _, d := range s.Methods {
			m.calls["/"+s.ServiceName+"/"+d.MethodName] = &callFigures{m: m, name: d.MethodName}
		}
		for _, d := range s.Streams {
			m.calls["/"+s.ServiceName+"/"+d.StreamName] = &callFigures{m: m, name: d.StreamName, endless: d.StreamName == "GetContainerEvents"}
		}
	}
	return m
}

// Begin implements server.Observer.
func (m *Metrics) Begin(ctx context.Context, method string, _ any) context.Context {
	c := m.calls[method]
	if c == nil {
		return ctx
	}
	c.inFlight.Add(1)
	return steps.Observe(ctx, c)
}

// End implements server.Observer.
func (m *Metrics) End(_ context.Context, method string, took time.Duration, err error) {
	c := m.calls[method]
	if c == nil {
		return
	}
	c.inFlight.Add(-1)
	code := status.Code(err)
	if code > maxCode {
		code = codes.Unknown
	}
	c.codes[code].Add(1)
	if !c.endless {
		c.took.observe(took)
	}
}

// Ran implements steps.Observer. A lap is the step "STEP/LAP".
func (c *callFigures) Ran(_ time.Time, all []steps.Took, err error) {
	for i, s := range all {
		f := c.m.step(stepName{c.name, s.Name})
		f.took.observe(s.Took)
		if err != nil && i == len(all)-1 {
			f.failed.Add(1)
		}
		for _, lap := range s.Parts {
			c.m.step(stepName{c.name, path.Join(s.Name, lap.Name)}).took.observe(lap.Took)
		}
	}
}

func (m *Metrics) step(n stepName) *stepFigures {
	m.mu.RLock()
	f := m.steps[n]
	m.mu.RUnlock()
	if f != nil {
		return f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f = m.steps[n]; f == nil {
		f = &stepFigures{}
		m.steps[n] = f
	}
	return f
}

// sortedCalls are the methods that were called, by name.
func (m *Metrics) sortedCalls() []*callFigures {
	var out []*callFigures
	for _, c := range m.calls {
		if c.inFlight.Load() > 0 || c.total() > 0 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *callFigures) int { return cmpNames(a.name, b.name) })
	return out
}

func (c *callFigures) total() (n uint64) {
	for i := range c.codes {
		n += c.codes[i].Load()
	}
	return n
}

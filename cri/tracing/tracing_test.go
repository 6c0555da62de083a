package tracing

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/steps"
)

// collector is an OTLP collector that keeps requests as they come.
type collector struct {
	mu       sync.Mutex
	requests [][]byte
	reply    []byte
	fail     error
}

func (c *collector) take(request []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, bytes.Clone(request))
	return c.reply, c.fail
}

// overGRPC serves it as TraceService and returns its address.
func (c *collector) overGRPC(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(encoded{}))
	service, method, _ := strings.Cut(exportMethod[1:], "/")
	s.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: method,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			reply, err := c.take(request)
			return &reply, err
		},
	}}}, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// message is a decoded protobuf message: by field number, in order.
type message map[protowire.Number][]any

func decode(t *testing.T, b []byte) message {
	t.Helper()
	m := message{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatalf("no protobuf: %x", b)
		}
		b = b[n:]
		var v any
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			v, n = protowire.ConsumeFixed32(b)
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		default:
			t.Fatalf("field %d has type %d", num, typ)
		}
		if n < 0 {
			t.Fatalf("no protobuf: %x", b)
		}
		b = b[n:]
		m[num] = append(m[num], v)
	}
	return m
}

func (m message) bytes(num protowire.Number) []byte {
	if len(m[num]) != 1 {
		return nil
	}
	return m[num][0].([]byte)
}

// received is a span as a collector reads it, by opentelemetry-proto's trace.proto.
type received struct {
	trace, id, parent, name, state string
	kind, start, end               uint64
	attrs                          map[string]any
	status                         uint64
	message                        string
}

func readAttributes(t *testing.T, all []any) map[string]any {
	out := map[string]any{}
	for _, a := range all {
		kv := decode(t, a.([]byte))
		v := decode(t, kv.bytes(2))
		switch {
		case len(v[1]) == 1:
			out[string(kv.bytes(1))] = string(v.bytes(1))
		case len(v[3]) == 1:
			out[string(kv.bytes(1))] = int64(v[3][0].(uint64))
		default:
			t.Errorf("attribute %s has no value", kv.bytes(1))
		}
	}
	return out
}

// spans reads all that was received, and checks the resource of each request.
func (c *collector) spans(t *testing.T) map[string]received {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]received{}
	for _, r := range c.requests {
		for _, rs := range decode(t, r)[1] {
			m := decode(t, rs.([]byte))
			if got := readAttributes(t, decode(t, m.bytes(1))[1]); got["service.name"] != "slipway" || got["host.name"] != "n1" {
				t.Errorf("resource %v", got)
			}
			for _, ss := range m[2] {
				scoped := decode(t, ss.([]byte))
				if scope := decode(t, scoped.bytes(1)); string(scope.bytes(2)) != "0.1.0" {
					t.Errorf("scope %v", scope)
				}
				for _, s := range scoped[2] {
					v := readSpan(t, s.([]byte))
					out[v.name] = v
				}
			}
		}
	}
	return out
}

func readSpan(t *testing.T, b []byte) received {
	m := decode(t, b)
	st := decode(t, m.bytes(15))
	s := received{
		trace: hex.EncodeToString(m.bytes(1)), id: hex.EncodeToString(m.bytes(2)), parent: hex.EncodeToString(m.bytes(4)),
		name: string(m.bytes(5)), state: string(m.bytes(3)), kind: m[6][0].(uint64),
		start: m[7][0].(uint64), end: m[8][0].(uint64), attrs: readAttributes(t, m[9]), message: string(st.bytes(2)),
	}
	if len(st[3]) == 1 {
		s.status = st[3][0].(uint64)
	}
	if len(s.trace) != 32 || len(s.id) != 16 || s.end < s.start {
		t.Errorf("malformed span %+v", s)
	}
	return s
}

func quiet() *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

func tracer(t *testing.T, o Options) *Tracer {
	t.Helper()
	o.Insecure, o.Version, o.Node, o.Log = true, "0.1.0", "n1", quiet()
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func closeTracer(t *testing.T, tr *Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

const (
	runPod      = "/runtime.v1.RuntimeService/RunPodSandbox"
	parentTrace = "0af7651916cd43dd8448eb211c80319c"
	parentSpan  = "b7ad6b7169203331"
)

func withParent(flags string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(
		"traceparent", "00-"+parentTrace+"-"+parentSpan+"-"+flags, "tracestate", "k=v"))
}

// podStart is a call with two steps, of which the second fails after one lap.
func podStart(ctx context.Context, tr *Tracer) {
	req := &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "ns", Uid: "u"}}}
	ctx = tr.Begin(ctx, runPod, req)
	_, err := steps.Run(ctx, []steps.Step{
		{Name: "files", Do: func(context.Context) error { return nil }},
		{Name: "namespaces", Do: func(ctx context.Context) error { steps.Lap(ctx, "clone"); return errors.New("no more pids") }},
	})
	tr.End(ctx, runPod, 3*time.Millisecond, status.Error(codes.ResourceExhausted, err.Error()))
}

func checkPodStart(t *testing.T, got map[string]received) {
	t.Helper()
	call, files, ns, clone := got[runPod[1:]], got["files"], got["namespaces"], got["clone"]
	if len(got) != 4 || call.trace != parentTrace || call.parent != parentSpan || call.kind != kindServer || call.state != "k=v" {
		t.Fatalf("%d spans, call %+v", len(got), call)
	}
	if call.end-call.start != 3e6 || call.status != statusError || !strings.Contains(call.message, "no more pids") {
		t.Errorf("call %+v", call)
	}
	for k, want := range map[string]any{
		"rpc.system": "grpc", "rpc.service": "runtime.v1.RuntimeService", "rpc.method": "RunPodSandbox",
		"rpc.grpc.status_code": int64(codes.ResourceExhausted), "k8s.pod.name": "web", "k8s.namespace.name": "ns", "k8s.pod.uid": "u",
	} {
		if call.attrs[k] != want {
			t.Errorf("%s: %v, want %v", k, call.attrs[k], want)
		}
	}
	for _, s := range []received{files, ns} {
		if s.trace != parentTrace || s.parent != call.id || s.kind != kindInternal || s.state != "k=v" {
			t.Errorf("step %+v", s)
		}
	}
	if files.status != 0 || ns.status != statusError || ns.message != "namespaces: no more pids" {
		t.Errorf("status of steps: %+v, %+v", files, ns)
	}
	if clone.parent != ns.id || clone.start < ns.start || clone.end > ns.end || ns.start < files.end {
		t.Errorf("lap %+v of step %+v", clone, ns)
	}
}

func TestACallIsATrace(t *testing.T) {
	t.Run("gRPC", func(t *testing.T) {
		c := &collector{}
		tr := tracer(t, Options{Endpoint: c.overGRPC(t)})
		podStart(withParent("01"), tr)
		closeTracer(t, tr)
		checkPodStart(t, c.spans(t))
	})
	t.Run("HTTP", func(t *testing.T) {
		c := &collector{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || r.URL.Path != httpPath || r.Header.Get("Content-Type") != "application/x-protobuf" {
				t.Errorf("%s %s %v", r.URL, r.Header, err)
			}
			reply, _ := c.take(body)
			_, _ = w.Write(reply)
		}))
		defer s.Close()
		tr := tracer(t, Options{Endpoint: strings.TrimPrefix(s.URL, "http://"), HTTP: true})
		podStart(withParent("01"), tr)
		closeTracer(t, tr)
		checkPodStart(t, c.spans(t))
	})
}

func TestSampling(t *testing.T) {
	for _, c := range []struct {
		name string
		ctx  context.Context
		rate float64
		want bool
	}{
		{"no parent, all", context.Background(), 1, true},
		{"no parent, none", context.Background(), 0, false},
		{"the caller samples", withParent("01"), 0, true},
		{"the caller does not sample", withParent("00"), 1, false},
	} {
		col := &collector{}
		tr := tracer(t, Options{Endpoint: col.overGRPC(t), Sampling: c.rate})
		podStart(c.ctx, tr)
		closeTracer(t, tr)
		if got := len(col.spans(t)) > 0; got != c.want {
			t.Errorf("%s: traced %v, want %v", c.name, got, c.want)
		}
	}
}

// TestManySpansGoInBatches: more than one batch, and all of them arrive.
func TestManySpansGoInBatches(t *testing.T) {
	c := &collector{}
	tr := tracer(t, Options{Endpoint: c.overGRPC(t), Sampling: 1})
	const calls = maxBatch + 10
	for i := range calls {
		method := fmt.Sprintf("/s/m%d", i)
		tr.End(tr.Begin(context.Background(), method, nil), method, time.Millisecond, nil)
	}
	closeTracer(t, tr)
	if got := len(c.spans(t)); got != calls || tr.Dropped() != 0 || len(c.requests) < 2 {
		t.Errorf("%d spans in %d requests, %d dropped", got, len(c.requests), tr.Dropped())
	}
}

// TestNoCollector: spans are lost and counted; calls and the end do not wait.
func TestNoCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	tr := tracer(t, Options{Endpoint: l.Addr().String(), Sampling: 1})
	for range maxQueue + 100 {
		tr.End(tr.Begin(context.Background(), "/s/m", nil), "/s/m", time.Millisecond, nil)
	}
	closeTracer(t, tr)
	if got := tr.Dropped(); got != maxQueue+100 {
		t.Errorf("%d dropped", got)
	}
	tr.End(tr.Begin(context.Background(), "/s/m", nil), "/s/m", time.Millisecond, nil) // after the end
	closeTracer(t, tr)
	if got := tr.Dropped(); got != maxQueue+101 {
		t.Errorf("%d dropped after the end", got)
	}
}

func TestRefusedSpansAreCounted(t *testing.T) {
	partial := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 4)
	partial = bytesField(partial, 2, []byte("too old"))
	c := &collector{reply: bytesField(nil, 1, partial)}
	tr := tracer(t, Options{Endpoint: c.overGRPC(t)})
	podStart(withParent("01"), tr)
	closeTracer(t, tr)
	if got := tr.Dropped(); got != 4 {
		t.Errorf("%d dropped", got)
	}
	if err := refused(c.reply); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Error(err)
	}
}

func TestTraceparent(t *testing.T) {
	good := "00-" + parentTrace + "-" + parentSpan + "-01"
	for _, c := range []struct {
		in          string
		ok, sampled bool
	}{
		{good, true, true},
		{good[:53] + "00", true, false},
		{"01" + good[2:] + "-more", true, true},
		{good + "-more", false, false},
		{"01" + good[2:] + "more", false, false},
		{"ff" + good[2:], false, false},
		{strings.ToUpper(good), false, false},
		{strings.Replace(good, parentTrace, strings.Repeat("0", 32), 1), false, false},
		{strings.Replace(good, parentSpan, strings.Repeat("0", 16), 1), false, false},
		{strings.Replace(good, "7651", "zzzz", 1), false, false},
		{good[:54], false, false},
		{"", false, false},
	} {
		got, ok := parseTraceparent(c.in)
		if ok != c.ok || got.Sampled != c.sampled {
			t.Errorf("%q: %v %+v", c.in, ok, got)
		}
	}
	if tracestate([]string{"a=b", "c=d"}) != "a=b,c=d" || tracestate([]string{strings.Repeat("x", 513)}) != "" || tracestate([]string{"a=\n"}) != "" {
		t.Error("tracestate")
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + parentTrace + "-" + parentSpan + "-01")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := parseTraceparent(s); !ok && c != (spanContext{}) {
			t.Errorf("%q: refused, but %+v", s, c)
		}
	})
}

func TestEnvironment(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(k string) string {
			if i := slices.Index(pairs, k); i >= 0 && i%2 == 0 {
				return pairs[i+1]
			}
			return ""
		}
	}
	const endpoint, protocol = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
	for _, c := range []struct {
		name string
		in   Options
		env  func(string) string
		want Options
		bad  bool
	}{
		{name: "nothing", env: env()},
		{name: "grpc", env: env(endpoint, "http://c:4317"), want: Options{Endpoint: "c:4317", Insecure: true}},
		{name: "http by its port", env: env(endpoint, "https://c:4318"), want: Options{Endpoint: "c:4318", HTTP: true}},
		{name: "protocol said", env: env(endpoint, "http://c", protocol, "http/protobuf"), want: Options{Endpoint: "c:4318", HTTP: true, Insecure: true}},
		{name: "default port", env: env(endpoint, "http://[::1]"), want: Options{Endpoint: "[::1]:4317", Insecure: true}},
		{name: "traces' own first", env: env(endpoint, "http://c:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:2"), want: Options{Endpoint: "t:2", Insecure: true}},
		{name: "configured", in: Options{Endpoint: "x:1"}, env: env(endpoint, "http://c:1"), want: Options{Endpoint: "x:1"}},
		{name: "disabled", env: env(endpoint, "http://c:1", "OTEL_SDK_DISABLED", "true")},
		{name: "no URL", env: env(endpoint, "c:4317"), bad: true},
		{name: "protocol unknown", env: env(endpoint, "http://c", protocol, "http/json"), bad: true},
	} {
		o := c.in
		err := Environment(&o, c.env)
		if errors.Is(err, lifecycle.ErrInvalid) != c.bad || !c.bad && (err != nil || o != c.want) {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Endpoint: "nowhere"}, {Endpoint: "c:1", Sampling: 2}, {Endpoint: "c:1", Sampling: -1}} {
		if _, err := New(o); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// BenchmarkUnsampled is what a call costs when tracing is on and the call is not traced.
func BenchmarkUnsampled(b *testing.B) { benchmarkCall(b, 0) }

// BenchmarkSampled is a traced call, without its export.
func BenchmarkSampled(b *testing.B) { benchmarkCall(b, 1) }

func benchmarkCall(b *testing.B, rate float64) {
	tr, err := New(Options{Endpoint: "127.0.0.1:1", Insecure: true, Sampling: rate, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tr.End(tr.Begin(context.Background(), runPod, nil), runPod, time.Millisecond, nil)
	}
	b.StopTimer()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = tr.Close(ctx)
}

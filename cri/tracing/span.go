package tracing

import (
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Span kinds and the failed status, as opentelemetry/proto/trace/v1/trace.proto numbers them.
const (
	kindInternal = 1
	kindServer   = 2
	statusError  = 2
)

// attribute is a key with a string or an int64.
type attribute struct {
	key   string
	value any
}

// span is a finished span.
type span struct {
	spanContext
	Parent     spanID
	Name       string
	Kind       uint64
	Start, End time.Time
	Attrs      []attribute
	Failed     bool
	Message    string // with Failed
}

// maxMessage bounds an error's text in a span.
const maxMessage = 4096

// encode appends the span as field 2 of ScopeSpans. Field numbers: opentelemetry/proto/trace/v1.
func (s *span) encode(b []byte) []byte {
	var m []byte
	m = bytesField(m, 1, s.Trace[:])
	m = bytesField(m, 2, s.Span[:])
	m = stringField(m, 3, s.State)
	if s.Parent != (spanID{}) {
		m = bytesField(m, 4, s.Parent[:])
	}
	m = stringField(m, 5, s.Name)
	m = protowire.AppendVarint(protowire.AppendTag(m, 6, protowire.VarintType), s.Kind)
	m = protowire.AppendFixed64(protowire.AppendTag(m, 7, protowire.Fixed64Type), uint64(s.Start.UnixNano()))
	m = protowire.AppendFixed64(protowire.AppendTag(m, 8, protowire.Fixed64Type), uint64(s.End.UnixNano()))
	for _, a := range s.Attrs {
		m = bytesField(m, 9, a.encode())
	}
	if s.Failed {
		var st []byte
		st = stringField(st, 2, s.Message[:min(len(s.Message), maxMessage)])
		st = protowire.AppendVarint(protowire.AppendTag(st, 3, protowire.VarintType), statusError)
		m = bytesField(m, 15, st)
	}
	m = protowire.AppendFixed32(protowire.AppendTag(m, 16, protowire.Fixed32Type), 1) // sampled
	return bytesField(b, 2, m)
}

// encode makes a KeyValue (opentelemetry/proto/common/v1).
func (a attribute) encode() []byte {
	var v []byte
	switch x := a.value.(type) {
	case string:
		v = bytesField(v, 1, []byte(strings.ToValidUTF8(x, "\uFFFD"))) // also when empty: an empty string is a value
	case int64:
		v = protowire.AppendVarint(protowire.AppendTag(v, 3, protowire.VarintType), uint64(x))
	}
	return bytesField(stringField(nil, 1, a.key), 2, v)
}

// request wraps encoded spans into an ExportTraceServiceRequest; resource is an encoded Resource.
func request(resource, scope []byte, spans [][]byte) []byte {
	n := 0
	for _, s := range spans {
		n += len(s)
	}
	scoped := make([]byte, 0, n+len(scope)+16)
	scoped = bytesField(scoped, 1, scope)
	for _, s := range spans {
		scoped = append(scoped, s...)
	}
	return bytesField(nil, 1, bytesField(bytesField(nil, 1, resource), 2, scoped))
}

func encodeResource(attrs ...attribute) (b []byte) {
	for _, a := range attrs {
		b = bytesField(b, 1, a.encode())
	}
	return b
}

func encodeScope(name, version string) []byte {
	return stringField(stringField(nil, 1, name), 2, version)
}

func bytesField(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// stringField leaves an empty string out, as proto3 does; a collector refuses what is not UTF-8.
func stringField(b []byte, n protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	if !utf8.ValidString(v) {
		v = strings.ToValidUTF8(v, "\uFFFD")
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// callAttributes name the call and whom it is about, by OpenTelemetry's semantic conventions (RPC,
// Kubernetes, container); nothing else of a request leaves the node.
func callAttributes(method string, req any) []attribute {
	service, name, _ := strings.Cut(method[1:], "/")
	attrs := []attribute{{"rpc.system", "grpc"}, {"rpc.service", service}, {"rpc.method", name}}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, attribute{key, value})
		}
	}
	if r, ok := req.(interface{ GetPodSandboxId() string }); ok {
		add("slipway.pod.sandbox.id", r.GetPodSandboxId())
	}
	if r, ok := req.(interface{ GetContainerId() string }); ok {
		add("container.id", r.GetContainerId())
	}
	if r, ok := req.(interface{ GetImage() *runtimeapi.ImageSpec }); ok {
		add("container.image.name", r.GetImage().GetImage())
	}
	switch r := req.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		m := r.GetConfig().GetMetadata()
		add("k8s.namespace.name", m.GetNamespace())
		add("k8s.pod.name", m.GetName())
		add("k8s.pod.uid", m.GetUid())
	case *runtimeapi.CreateContainerRequest:
		add("k8s.container.name", r.GetConfig().GetMetadata().GetName())
		add("container.image.name", r.GetConfig().GetImage().GetImage())
	}
	return attrs
}

package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// exportMethod is OTLP's one call for traces.
const exportMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// httpPath is where OTLP over HTTP takes traces.
const httpPath = "/v1/traces"

func newSender(o Options) (sender, error) {
	if _, _, err := net.SplitHostPort(o.Endpoint); err != nil {
		return nil, fmt.Errorf("endpoint %q is not host:port: %w", o.Endpoint, lifecycle.ErrInvalid)
	}
	if o.HTTP {
		u := url.URL{Scheme: "https", Host: o.Endpoint, Path: httpPath}
		if o.Insecure {
			u.Scheme = "http"
		}
		return &httpSender{url: u.String(), client: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
		}}}, nil
	}
	creds := credentials.NewTLS(nil)
	if o.Insecure {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient("dns:///"+o.Endpoint, grpc.WithTransportCredentials(creds), grpc.WithUserAgent("slipway/"+o.Version))
	if err != nil {
		return nil, err
	}
	return &grpcSender{conn}, nil
}

type grpcSender struct{ conn *grpc.ClientConn }

func (s *grpcSender) send(ctx context.Context, request []byte) error {
	var reply []byte
	if err := s.conn.Invoke(ctx, exportMethod, &request, &reply, grpc.ForceCodec(encoded{})); err != nil {
		return err
	}
	return refused(reply)
}

func (s *grpcSender) close() error { return s.conn.Close() }

type httpSender struct {
	url    string
	client *http.Client
}

func (s *httpSender) send(ctx context.Context, request []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(request))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", s.url, resp.Status)
	}
	return refused(reply)
}

func (s *httpSender) close() error {
	s.client.CloseIdleConnections()
	return nil
}

// encoded is a codec of messages that are bytes already.
type encoded struct{}

func (encoded) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (encoded) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (encoded) Name() string                       { return "proto" }

// refused reads an ExportTraceServiceResponse: partial_success = 1 {rejected_spans = 1, error_message = 2}.
func refused(reply []byte) error {
	var n uint64
	var message string
	partial := fields(reply)[1].bytes
	for num, f := range fields(partial) {
		switch num {
		case 1:
			n = f.varint
		case 2:
			message = string(f.bytes)
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d spans refused: %w", n, errors.New(message))
}

// field is a protobuf field's last value.
type field struct {
	varint uint64
	bytes  []byte
}

// fields reads a small message; what does not parse ends it.
func fields(b []byte) map[protowire.Number]field {
	all := map[protowire.Number]field{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		b = b[n:]
		var f field
		switch typ {
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			break
		}
		b, all[num] = b[n:], f
	}
	return all
}

// Environment fills in o.Endpoint, if it is empty, from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
// OTEL_EXPORTER_OTLP_ENDPOINT (URLs), and the protocol from …_PROTOCOL; without the latter, port 4318
// says HTTP. getenv is os.Getenv. Errors are lifecycle.ErrInvalid. An endpoint that stays empty is no error:
// nothing is traced.
func Environment(o *Options, getenv func(string) string) error {
	if o.Endpoint != "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return nil
	}
	first := func(names ...string) (name, value string) {
		for _, name = range names {
			if value = getenv(name); value != "" {
				break
			}
		}
		return name, value
	}
	name, raw := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%s=%q is not http://host:port or https://host:port: %w", name, raw, lifecycle.ErrInvalid)
	}
	o.Endpoint, o.Insecure = u.Host, u.Scheme == "http"
	name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	switch protocol {
	case "":
		o.HTTP = u.Port() == "4318"
	case "grpc":
	case "http/protobuf":
		o.HTTP = true
	default:
		return fmt.Errorf("%s=%q is neither grpc nor http/protobuf: %w", name, protocol, lifecycle.ErrInvalid)
	}
	if u.Port() == "" {
		port := "4317"
		if o.HTTP {
			port = "4318"
		}
		o.Endpoint = net.JoinHostPort(u.Hostname(), port)
	}
	return nil
}

package streaming

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/slipway-cri/slipway/agent/containers"
)

// dialSPDY upgrades a connection as kubelet and crictl do by default.
func dialSPDY(t *testing.T, url, protocol string) httpstream.Connection {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	req.Header.Set(httpstream.HeaderProtocolVersion, protocol)
	raw, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(raw); err != nil {
		t.Fatal(err)
	}
	// The answer is read byte by byte, so that nothing of SPDY's is lost in a buffer.
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		if _, err := raw.Read(one); err != nil {
			t.Fatalf("after %q: %v", head, err)
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("answer %q", head)
	}
	conn, err := spdy.NewClientConnection(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func openStream(t *testing.T, c httpstream.Connection, headers ...string) httpstream.Stream {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	s, err := c.CreateStream(h)
	if err != nil {
		t.Fatalf("stream %v: %v", headers, err)
	}
	return s
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(b)
}

func TestExecSPDY(t *testing.T) {
	s, _ := start(t, &fake{exec: func(_ context.Context, _ string, _ []string, st containers.Streams) (int, error) {
		in, err := io.ReadAll(st.Stdin)
		_, _ = st.Stdout.Write(bytes.ToUpper(in))
		_, _ = io.WriteString(st.Stderr, "warned")
		return 7, err
	}})
	c := dialSPDY(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdin: true, Stdout: true, Stderr: true}), remotecommand.StreamProtocolV4Name)
	status := openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeError)
	stdin := openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeStdin)
	stdout := openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeStdout)
	stderr := openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeStderr)
	if _, err := io.WriteString(stdin, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	if got := readAll(t, stdout); got != "HELLO" {
		t.Errorf("stdout %q", got)
	}
	if got := readAll(t, stderr); got != "warned" {
		t.Errorf("stderr %q", got)
	}
	b := make([]byte, 4096)
	n, err := status.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if st := decodeStatus(t, string(b[:n])); st.Reason != "NonZeroExitCode" || st.Details.Causes[0].Message != "7" {
		t.Errorf("status %+v", st)
	}
}

// forwardEcho answers one message of four bytes.
func forwardEcho(t *testing.T) *fake {
	return &fake{forward: func(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
		if id != "p1" || port != 8080 {
			t.Errorf("forward to %s:%d", id, port)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(stream, b); err != nil {
			return err
		}
		_, err := stream.Write(bytes.ToUpper(b))
		return err
	}}
}

func forwardOnce(t *testing.T, c httpstream.Connection, id int) {
	t.Helper()
	common := []string{portforward.PortHeader, "8080", portforward.PortForwardRequestIDHeader, strconv.Itoa(id), portforward.StreamType}
	failure := openStream(t, c, append(common[:5:5], portforward.StreamTypeError)...)
	data := openStream(t, c, append(common[:5:5], portforward.StreamTypeData)...)
	if _, err := io.WriteString(data, "ping"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, data); got != "PING" {
		t.Errorf("data %q", got)
	}
	if got := readAll(t, failure); got != "" {
		t.Errorf("error %q", got)
	}
}

func TestPortForwardSPDY(t *testing.T) {
	s, _ := start(t, forwardEcho(t))
	resp, err := s.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "p1"})
	if err != nil {
		t.Fatal(err)
	}
	c := dialSPDY(t, resp.GetUrl(), portforward.ProtocolV1Name)
	for i := range 3 { // several connections share one
		forwardOnce(t, c, i)
	}
}

func TestPortForwardTunnel(t *testing.T) {
	s, _ := start(t, forwardEcho(t))
	resp, err := s.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "p1"})
	if err != nil {
		t.Fatal(err)
	}
	ws := dial(t, resp.GetUrl(), tunnelProtocol)
	if ws.Subprotocol() != tunnelProtocol {
		t.Fatalf("negotiated %q", ws.Subprotocol())
	}
	c, err := spdy.NewClientConnection(&tunnelConn{Conn: ws})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for i := range 3 {
		forwardOnce(t, c, i)
	}
}

// The library gives a forwarded connection a context that never ends; ours does.
func TestPortForwardDisconnect(t *testing.T) {
	ended := make(chan struct{})
	s, _ := start(t, &fake{forward: func(ctx context.Context, _ string, _ int32, _ io.ReadWriteCloser) error {
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}})
	resp, err := s.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "p1", Port: []int32{1}})
	if err != nil {
		t.Fatal(err)
	}
	_ = dial(t, resp.GetUrl(), "v4.channel.k8s.io").NetConn().Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the forwarded connection outlives its client")
	}
}

// An exec whose SPDY client is gone ends, though it neither reads nor writes.
func TestDisconnectSPDY(t *testing.T) {
	ended := make(chan struct{})
	s, _ := start(t, &fake{exec: func(ctx context.Context, _ string, _ []string, _ containers.Streams) (int, error) {
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	}})
	c := dialSPDY(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}), remotecommand.StreamProtocolV4Name)
	openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeError)
	openStream(t, c, remotecommand.StreamType, remotecommand.StreamTypeStdout)
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the exec outlives its client")
	}
}

func TestNotAnUpgrade(t *testing.T) {
	s, _ := start(t, &fake{})
	resp, err := http.Get(execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := readAll(t, resp.Body)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "upgrade") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

package streaming

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// fake is both services, each verb a function that a test sets.
type fake struct {
	exec    func(ctx context.Context, id string, cmd []string, s containers.Streams) (int, error)
	attach  func(ctx context.Context, id string, s containers.Streams) error
	forward func(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error
}

func (f *fake) Exec(ctx context.Context, id string, cmd []string, s containers.Streams) (int, error) {
	return f.exec(ctx, id, cmd, s)
}

func (f *fake) Attach(ctx context.Context, id string, s containers.Streams) error {
	return f.attach(ctx, id, s)
}

func (f *fake) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	return f.forward(ctx, id, port, stream)
}

// start serves f and returns the server and what it logged.
func start(t *testing.T, f *fake) (*Server, *lockedBuffer) {
	t.Helper()
	log, buf := logrus.New(), &lockedBuffer{}
	log.SetOutput(buf)
	log.SetLevel(logrus.TraceLevel)
	s, err := New(Options{Containers: f, Pods: f, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s.watchEvery = 20 * time.Millisecond
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, buf
}

// dial connects to a streaming URL with the given subprotocols.
func dial(t *testing.T, url string, protocols ...string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: 10 * time.Second}
	c, _, err := d.Dial("ws"+strings.TrimPrefix(url, "http"), nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	return c
}

func send(t *testing.T, c *websocket.Conn, channel byte, data string) {
	t.Helper()
	if err := c.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, data...)); err != nil {
		t.Fatalf("send on channel %d: %v", channel, err)
	}
}

// receive collects each channel's bytes until the server closes the connection.
func receive(t *testing.T, c *websocket.Conn) map[byte]string {
	t.Helper()
	got := map[byte]string{}
	for {
		_, b, err := c.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			return got
		}
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got[b[0]] += string(b[1:])
	}
}

func decodeStatus(t *testing.T, s string) status {
	t.Helper()
	var st status
	if err := json.Unmarshal([]byte(s), &st); err != nil {
		t.Fatalf("status %q: %v", s, err)
	}
	return st
}

func execURL(t *testing.T, s *Server, r *runtimeapi.ExecRequest) string {
	t.Helper()
	r.ContainerId = "c1"
	resp, err := s.GetExec(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetUrl()
}

func TestExecV5(t *testing.T) {
	f := &fake{exec: func(_ context.Context, id string, cmd []string, s containers.Streams) (int, error) {
		if id != "c1" || strings.Join(cmd, " ") != "cat -" || s.TTY || s.Resize != nil {
			t.Errorf("exec %s %q tty=%v resize=%v", id, cmd, s.TTY, s.Resize != nil)
		}
		in, err := io.ReadAll(s.Stdin) // ends by the client's close of channel 0
		if err != nil {
			return 0, err
		}
		_, _ = s.Stdout.Write(bytes.ToUpper(in))
		_, _ = io.WriteString(s.Stderr, "warned")
		return 7, nil
	}}
	s, _ := start(t, f)
	c := dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"cat", "-"}, Stdin: true, Stdout: true, Stderr: true}), "v5.channel.k8s.io")
	if p := c.Subprotocol(); p != "v5.channel.k8s.io" {
		t.Fatalf("negotiated %q", p)
	}
	send(t, c, 0, "hel")
	send(t, c, 0, "lo")
	send(t, c, 255, "\x00")
	got := receive(t, c)
	if got[1] != "HELLO" || got[2] != "warned" {
		t.Errorf("stdout %q, stderr %q", got[1], got[2])
	}
	st := decodeStatus(t, got[3])
	if st.Status != "Failure" || st.Reason != "NonZeroExitCode" || st.Details == nil ||
		len(st.Details.Causes) != 1 || st.Details.Causes[0] != (statusCause{"ExitCode", "7"}) {
		t.Errorf("status %+v", st)
	}
}

func TestExecStatus(t *testing.T) {
	for _, tc := range []struct {
		name, protocol string
		code           int
		err            error
		want           string
	}{
		{"success", "v5.channel.k8s.io", 0, nil, `{"status":"Success"}`},
		{"success in v4", "v4.channel.k8s.io", 0, nil, `{"status":"Success"}`},
		{"success in v1", "channel.k8s.io", 0, nil, ``},
		{"exit code in v1", "channel.k8s.io", 3, nil, `command terminated with exit code 3`},
		{"error", "v5.channel.k8s.io", 0, errors.New("no such file"), `{"status":"Failure","message":"no such file","reason":"InternalError","code":500}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := start(t, &fake{exec: func(context.Context, string, []string, containers.Streams) (int, error) {
				return tc.code, tc.err
			}})
			c := dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}), tc.protocol)
			if got := receive(t, c)[3]; got != tc.want {
				t.Errorf("status %q, want %q", got, tc.want)
			}
		})
	}
}

// A request names its streams; the service must see just those.
func TestExecStreamsAsRequested(t *testing.T) {
	for _, r := range []*runtimeapi.ExecRequest{
		{Stdin: true}, {Stdout: true}, {Stderr: true}, {Stdin: true, Stdout: true, Tty: true},
	} {
		var got containers.Streams
		s, _ := start(t, &fake{exec: func(_ context.Context, _ string, _ []string, st containers.Streams) (int, error) {
			got = st
			return 0, nil
		}})
		r.Cmd = []string{"x"}
		receive(t, dial(t, execURL(t, s, r), "v5.channel.k8s.io"))
		if (got.Stdin != nil) != r.Stdin || (got.Stdout != nil) != r.Stdout || (got.Stderr != nil) != r.Stderr ||
			got.TTY != r.Tty || (got.Resize != nil) != r.Tty {
			t.Errorf("%v: got %+v", r, got)
		}
	}
}

func TestResize(t *testing.T) {
	s, _ := start(t, &fake{exec: func(ctx context.Context, _ string, _ []string, st containers.Streams) (int, error) {
		select {
		case size := <-st.Resize:
			if size != (containers.Size{Rows: 40, Cols: 120}) {
				t.Errorf("size %+v", size)
			}
			return 0, nil
		case <-ctx.Done():
			return 1, ctx.Err()
		}
	}})
	c := dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"sh"}, Stdin: true, Stdout: true, Tty: true}), "v5.channel.k8s.io")
	send(t, c, 4, `{"Width":0,"Height":0}`)
	send(t, c, 4, `{"Width":120,"Height":40}`)
	if st := decodeStatus(t, receive(t, c)[3]); st.Status != "Success" {
		t.Errorf("status %+v", st)
	}
}

// Sizes that nobody takes, and garbage, must not keep stdin from coming through.
func TestResizeFlood(t *testing.T) {
	s, _ := start(t, &fake{exec: func(_ context.Context, _ string, _ []string, st containers.Streams) (int, error) {
		_, err := io.Copy(st.Stdout, st.Stdin)
		return 0, err
	}})
	c := dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"sh"}, Stdin: true, Stdout: true, Tty: true}), "v5.channel.k8s.io")
	for range 100 {
		send(t, c, 4, `{"Width":120,"Height":40}`)
	}
	for range 10 {
		send(t, c, 4, `garbage`)
	}
	send(t, c, 0, "through")
	send(t, c, 255, "\x00")
	if got := receive(t, c); got[1] != "through" {
		t.Errorf("got %q", got)
	}
}

func TestAttach(t *testing.T) {
	s, _ := start(t, &fake{attach: func(_ context.Context, id string, st containers.Streams) error {
		_, err := io.Copy(st.Stdout, st.Stdin)
		return err
	}})
	resp, err := s.GetAttach(&runtimeapi.AttachRequest{ContainerId: "c1", Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, resp.GetUrl(), "v5.channel.k8s.io")
	send(t, c, 0, "echo")
	send(t, c, 255, "\x00")
	got := receive(t, c)
	if got[1] != "echo" || decodeStatus(t, got[3]).Status != "Success" {
		t.Errorf("got %q", got)
	}
}

func TestPortForwardWebSocket(t *testing.T) {
	s, _ := start(t, &fake{forward: func(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
		if id != "p1" || port != 8080 {
			t.Errorf("forward to %s:%d", id, port)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(stream, b); err != nil {
			return err
		}
		_, err := stream.Write(bytes.ToUpper(b))
		return err
	}})
	resp, err := s.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "p1", Port: []int32{8080}})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, resp.GetUrl(), "v4.channel.k8s.io")
	send(t, c, 0, "ping")
	got := receive(t, c)
	if want := "\x90\x1f"; got[0] != want+"PING" || got[1] != want {
		t.Errorf("data %q, error %q", got[0], got[1])
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestTokens(t *testing.T) {
	s, log := start(t, &fake{exec: func(context.Context, string, []string, containers.Streams) (int, error) { return 0, nil }})
	url := execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true})
	token := url[strings.LastIndex(url, "/")+1:]
	if len(token) < 26 {
		t.Errorf("token of %d characters", len(token))
	}
	receive(t, dial(t, url, "v5.channel.k8s.io"))
	if code := get(t, url); code != http.StatusNotFound {
		t.Errorf("a used token answers %d", code)
	}
	guess := strings.Replace(url, token, strings.Repeat("A", len(token)), 1)
	if code := get(t, guess); code != http.StatusNotFound {
		t.Errorf("a guessed token answers %d", code)
	}
	attach := strings.Replace(execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}), "/exec/", "/attach/", 1)
	if code := get(t, attach); code != http.StatusNotFound {
		t.Errorf("an exec token on /attach answers %d", code)
	}
	if code := get(t, strings.Replace(attach, "/attach/", "/exec/", 1)); code != http.StatusNotFound {
		t.Errorf("a token spent on the wrong verb answers %d", code)
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("the log has the token: %s", log.String())
	}
}

func TestTokenExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tk := tokens{ttl: time.Minute}
		early, _ := tk.put("a")
		late, _ := tk.put("b")
		time.Sleep(59 * time.Second)
		if v, ok := tk.take(early); !ok || v != "a" {
			t.Errorf("after 59 s: %v %v", v, ok)
		}
		time.Sleep(time.Second)
		if _, ok := tk.take(late); ok {
			t.Error("works after its minute")
		}
		for range maxWaiting {
			if _, err := tk.put("x"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tk.put("x"); !errors.Is(err, lifecycle.ErrExhausted) {
			t.Errorf("one too many: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := tk.put("x"); err != nil {
			t.Errorf("expired ones still count: %v", err)
		}
	})
}

// A client that goes away ends what it started, even where neither side says a word
// (CVE-2022-23471), and leaves no goroutine.
func TestDisconnect(t *testing.T) {
	ended := make(chan struct{}, 1)
	s, _ := start(t, &fake{attach: func(ctx context.Context, _ string, st containers.Streams) error {
		go func() { _, _ = io.Copy(io.Discard, st.Stdin) }()
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}})
	attachOnce := func() {
		resp, err := s.GetAttach(&runtimeapi.AttachRequest{ContainerId: "c", Stdin: true, Stdout: true, Tty: true})
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, resp.GetUrl(), "v5.channel.k8s.io")
		if _, _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
		_ = c.NetConn().Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("attach outlives its client")
		}
	}
	attachOnce()
	before := settled(t, 0)
	for range 200 {
		attachOnce()
	}
	if after := settled(t, before); after > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

// A client that dies with more stdin sent than the process reads is noticed too.
func TestDisconnectBehindStdin(t *testing.T) {
	ended := make(chan struct{})
	s, _ := start(t, &fake{exec: func(ctx context.Context, _ string, _ []string, _ containers.Streams) (int, error) {
		<-ctx.Done() // reads nothing
		close(ended)
		return 0, ctx.Err()
	}})
	c := dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"sleep"}, Stdin: true}), "v5.channel.k8s.io")
	for range 4 {
		send(t, c, 0, strings.Repeat("x", 8<<10))
	}
	_ = c.NetConn().Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the exec outlives its client")
	}
}

// settled is the number of goroutines, once it is down to want or has stopped falling.
func settled(t *testing.T, want int) int {
	t.Helper()
	n, same := runtime.NumGoroutine(), 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && same < 20; {
		time.Sleep(5 * time.Millisecond) // there is no event for "a goroutine has ended"
		m := runtime.NumGoroutine()
		if want > 0 && m <= want {
			return m
		}
		if m == n {
			same++
		} else {
			n, same = m, 0
		}
	}
	return n
}

func TestCloseEndsStreams(t *testing.T) {
	began := make(chan struct{})
	f := &fake{exec: func(ctx context.Context, _ string, _ []string, _ containers.Streams) (int, error) {
		close(began)
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	s, _ := start(t, f)
	dial(t, execURL(t, s, &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}), "v5.channel.k8s.io")
	<-began
	if err := s.Close(); err != nil { // waits for the handler
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	f := &fake{}
	for _, o := range []Options{
		{}, {Containers: f}, {Containers: f, Pods: f, Addr: "0.0.0.0:0"}, {Containers: f, Pods: f, Addr: "nonsense"},
	} {
		if _, err := New(o); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

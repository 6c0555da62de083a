package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// The channels of v5.channel.k8s.io (KEP-4006): the first byte of each message.
const (
	chanStdin  = 0
	chanStdout = 1
	chanStderr = 2
	chanStatus = 3
	chanResize = 4
	chanClose  = 255
)

// stream is a client of an exec or attach endpoint.
type stream struct {
	t  *testing.T
	ws *websocket.Conn

	mu   sync.Mutex
	got  map[byte]*bytes.Buffer
	more chan struct{} // something came
	done chan struct{} // the connection has ended
}

// dial connects to an endpoint that CRI answered with.
func dial(t *testing.T, ctx context.Context, url, protocol string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{protocol}}
	ws, r, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(url, "http"), nil)
	if err != nil {
		t.Fatalf("dial %s: %v, %v", url, r, err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	if ws.Subprotocol() != protocol {
		t.Fatalf("endpoint speaks %q", ws.Subprotocol())
	}
	return ws
}

func openStream(t *testing.T, ctx context.Context, url string) *stream {
	t.Helper()
	s := &stream{t: t, ws: dial(t, ctx, url, "v5.channel.k8s.io"),
		got: map[byte]*bytes.Buffer{chanStdout: {}, chanStderr: {}, chanStatus: {}}, more: make(chan struct{}, 1), done: make(chan struct{})}
	go s.read()
	return s
}

func (s *stream) read() {
	defer close(s.done)
	for {
		_, data, err := s.ws.ReadMessage()
		if err != nil {
			return
		}
		if len(data) < 2 {
			continue
		}
		s.mu.Lock()
		if b := s.got[data[0]]; b != nil {
			b.Write(data[1:])
		}
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

func (s *stream) send(channel byte, data string) {
	s.t.Helper()
	if err := s.ws.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, data...)); err != nil {
		s.t.Fatalf("send: %v", err)
	}
}

// text is what came on a channel so far.
func (s *stream) text(channel byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[channel].String()
}

// expect waits until the channel's text contains part.
func (s *stream) expect(ctx context.Context, channel byte, part string) {
	s.t.Helper()
	for !strings.Contains(s.text(channel), part) {
		select {
		case <-s.more:
		case <-s.done:
			if !strings.Contains(s.text(channel), part) {
				s.t.Fatalf("the stream ended, and has no %q: %q", part, s.text(channel))
			}
			return
		case <-ctx.Done():
			s.t.Fatalf("no %q: %q", part, s.text(channel))
		}
	}
}

// code waits for the end and returns the exit code that the status tells.
func (s *stream) code(ctx context.Context) string {
	s.t.Helper()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.t.Fatalf("the stream does not end")
	}
	var status struct {
		Status  string
		Details struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if err := json.Unmarshal([]byte(s.text(chanStatus)), &status); err != nil {
		s.t.Fatalf("status %q: %v", s.text(chanStatus), err)
	}
	if status.Status == "Success" {
		return "0"
	}
	for _, c := range status.Details.Causes {
		if c.Reason == "ExitCode" {
			return c.Message
		}
	}
	return s.text(chanStatus)
}

// forwarded is one forwarded connection over the WebSocket form of port forwarding: messages of channel 0 are
// data, of channel 1 an error, and the first of each is the port.
type forwarded struct {
	ws   *websocket.Conn
	port map[byte]uint16
	rest []byte
}

func (f *forwarded) Write(p []byte) (int, error) {
	return len(p), f.ws.WriteMessage(websocket.BinaryMessage, append([]byte{0}, p...))
}

func (f *forwarded) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		_, data, err := f.ws.ReadMessage()
		switch {
		case err != nil:
			return 0, err
		case len(data) == 0:
		case f.port[data[0]] == 0 && len(data) == 3:
			f.port[data[0]] = binary.LittleEndian.Uint16(data[1:])
		case data[0] == 1:
			return 0, io.ErrUnexpectedEOF
		default:
			f.rest = data[1:]
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gorilla/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// endpoint serves one connection with f.
func endpoint(t *testing.T, f func(*websocket.Conn)) string {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{protocol}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		f(ws)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func say(t *testing.T, ws *websocket.Conn, channel byte, text string) {
	if err := ws.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, text...)); err != nil {
		t.Error(err)
	}
}

func TestRun(t *testing.T) {
	var gotIn, gotSize string
	url := endpoint(t, func(ws *websocket.Conn) {
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte{channelStdout})
		for closed := false; !closed || gotSize == ""; {
			_, m, err := ws.ReadMessage()
			if err != nil {
				t.Error(err)
				return
			}
			switch m[0] {
			case channelStdin:
				gotIn += string(m[1:])
			case channelResize:
				gotSize = string(m[1:])
			case channelClose:
				closed = m[1] == channelStdin
			}
		}
		say(t, ws, channelStdout, "out")
		say(t, ws, channelStderr, "err")
		say(t, ws, channelStatus, `{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}`)
	})
	sizes := make(chan Size, 1)
	sizes <- Size{80, 24}
	var out, errs bytes.Buffer
	code, err := Run(t.Context(), url, Streams{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs, Resize: sizes})
	if err != nil || code != 42 {
		t.Fatalf("code %d, %v", code, err)
	}
	if out.String() != "out" || errs.String() != "err" || gotIn != "hello" || gotSize != `{"Width":80,"Height":24}` {
		t.Errorf("out %q err %q in %q size %q", out.String(), errs.String(), gotIn, gotSize)
	}
}

func TestRunEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(*websocket.Conn)
		says  string
	}{
		"failure": {func(ws *websocket.Conn) { say(t, ws, channelStatus, `{"status":"Failure","message":"no such file"}`) }, "no such file"},
		"no status": {func(ws *websocket.Conn) {
			_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
		}, "without a status"},
		"torn":     {func(*websocket.Conn) {}, "stream: "},
		"bad json": {func(ws *websocket.Conn) { say(t, ws, channelStatus, "{") }, "status of the command"},
	} {
		if _, err := Run(t.Context(), endpoint(t, tc.serve), Streams{}); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := endpoint(t, func(ws *websocket.Conn) {
		cancel()
		_, _, _ = ws.ReadMessage()
	})
	if _, err := Run(ctx, url, Streams{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRunDetached(t *testing.T) {
	url := endpoint(t, func(ws *websocket.Conn) {
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
		}
	})
	in := Detach(io.MultiReader(strings.NewReader("ls\x10\x11"), iotest.ErrReader(errors.New("read too far"))))
	if _, err := Run(t.Context(), url, Streams{Stdin: in}); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
}

func TestRefusedEndpoint(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "token expired", http.StatusNotFound) }))
	defer s.Close()
	if _, err := Run(t.Context(), s.URL, Streams{}); err == nil || !strings.Contains(err.Error(), "token expired") {
		t.Error(err)
	}
}

// The server side of the field must get every byte of a large input, and its end.
func TestRunLargeInput(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{protocol: {Binary: true, Channels: []wsstream.ChannelType{
			wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel,
		}}})
		_, ch, err := c.Open(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := io.Copy(ch[channelStdout], ch[channelStdin]); err != nil {
			t.Error(err)
		}
		_, _ = ch[channelStatus].Write([]byte(`{"status":"Success"}`))
	}))
	defer s.Close()
	in := make([]byte, 3<<20)
	_, _ = rand.Read(in) // never fails (crypto/rand)
	var out bytes.Buffer
	if _, err := Run(t.Context(), s.URL, Streams{Stdin: bytes.NewReader(in), Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(in, out.Bytes()) {
		t.Errorf("%d bytes came back of %d, or others", out.Len(), len(in))
	}
}

func TestDetachKeys(t *testing.T) {
	for in, want := range map[string]struct {
		out string
		err error
	}{
		"abc":          {"abc", nil},
		"a\x10b":       {"a\x10b", nil},
		"a\x10\x10b":   {"a\x10\x10b", nil},
		"a\x10":        {"a\x10", nil},
		"a\x10\x11b":   {"a", ErrDetached},
		"\x10\x10\x11": {"\x10", ErrDetached},
		"\x11\x10":     {"\x11\x10", nil},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in))} {
			got, err := io.ReadAll(Detach(r))
			if string(got) != want.out || !errors.Is(err, want.err) {
				t.Errorf("%s %q: %q, %v", name, in, got, err)
			}
		}
	}
}

package streaming

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// A port-forward client that may only speak WebSocket tunnels SPDY in it: each binary
// message is a piece of the SPDY byte stream (KEP-4006). Towards the library the tunnel is
// an HTTP request for SPDY whose connection, once hijacked, is the WebSocket.
const (
	forwardProtocol = "portforward.k8s.io"
	tunnelProtocol  = spdy.HeaderSpdy31 + "+" + forwardProtocol
)

var upgrader = websocket.Upgrader{
	Subprotocols: []string{tunnelProtocol},
	// The token is what authorises a request; no browser page can know one.
	CheckOrigin: func(*http.Request) bool { return true },
}

// tunnel upgrades to WebSocket and returns the request and writer of the inner SPDY
// connection. false: the client has been answered.
func tunnel(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, bool) {
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, nil, false
	}
	if ws.Subprotocol() != tunnelProtocol {
		_ = ws.Close()
		return nil, nil, false
	}
	inner := r.Clone(r.Context())
	inner.Header = http.Header{}
	inner.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	inner.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	inner.Header.Set(httpstream.HeaderProtocolVersion, forwardProtocol)
	return &tunnelWriter{conn: &tunnelConn{Conn: ws}, header: http.Header{}}, inner, true
}

// tunnelWriter is the ResponseWriter of the inner request: its 101 was the WebSocket's.
type tunnelWriter struct {
	conn   net.Conn
	header http.Header
}

func (t *tunnelWriter) Header() http.Header { return t.header }
func (t *tunnelWriter) WriteHeader(int)     {}

// Write is reached only by the library's error pages, for which there is no HTTP left.
func (t *tunnelWriter) Write([]byte) (int, error) {
	return 0, errors.New("the connection has been upgraded to WebSocket")
}

func (t *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}

// tunnelConn is a byte stream over binary WebSocket messages. As SPDY's framer does, one
// goroutine reads and one writes.
type tunnelConn struct {
	*websocket.Conn
	message io.Reader // rest of the message being read, nil between two
}

func (t *tunnelConn) Read(b []byte) (int, error) {
	for {
		if t.message == nil {
			kind, r, err := t.NextReader()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("tunnel: message is not binary")
			}
			t.message = r
		}
		n, err := t.message.Read(b)
		if errors.Is(err, io.EOF) {
			t.message, err = nil, nil
		}
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

func (t *tunnelConn) Write(b []byte) (int, error) {
	if err := t.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (t *tunnelConn) SetDeadline(at time.Time) error {
	return errors.Join(t.SetReadDeadline(at), t.SetWriteDeadline(at))
}

func (t *tunnelConn) Close() error {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = t.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second)) // a courtesy; the close below is what counts
	return t.Conn.Close()
}

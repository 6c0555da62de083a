package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// forwardProtocol carries two SPDY streams a connection: data and error.
const forwardProtocol = "portforward.k8s.io"

// Forwarder is a connection to a PortForward endpoint.
type Forwarder struct {
	conn httpstream.Connection
	mu   sync.Mutex
	next int
}

// DialForward connects to a PortForward endpoint.
func DialForward(ctx context.Context, url string) (*Forwarder, error) {
	rt, err := spdy.NewRoundTripper(nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, fmt.Errorf("port-forward endpoint: %w", err)
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, forwardProtocol)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("port-forward endpoint: %w", err)
	}
	conn, err := rt.NewConnection(resp)
	if err != nil {
		return nil, fmt.Errorf("port-forward endpoint: %w", err)
	}
	return &Forwarder{conn: conn}, nil
}

// Close ends all forwarded connections.
func (f *Forwarder) Close() error { return f.conn.Close() }

// Done is closed when the endpoint has gone.
func (f *Forwarder) Done() <-chan bool { return f.conn.CloseChan() }

// Forward copies between local and port of the pod until both directions have ended, and
// closes local. An error is what the endpoint says, for example that nothing listens.
func (f *Forwarder) Forward(local net.Conn, port uint16) error {
	defer local.Close()
	f.mu.Lock()
	f.next++
	id := strconv.Itoa(f.next)
	f.mu.Unlock()

	h := http.Header{}
	h.Set("streamType", "error")
	h.Set("port", strconv.Itoa(int(port)))
	h.Set("requestID", id)
	errs, err := f.conn.CreateStream(h)
	if err != nil {
		return fmt.Errorf("forward to port %d: %w", port, err)
	}
	defer f.conn.RemoveStreams(errs)
	_ = errs.Close() // nothing is sent on it
	h.Set("streamType", "data")
	data, err := f.conn.CreateStream(h)
	if err != nil {
		_ = errs.Reset()
		return fmt.Errorf("forward to port %d: %w", port, err)
	}
	defer f.conn.RemoveStreams(data)

	go func() {
		_, _ = io.Copy(data, local)
		_ = data.Close() // half-close: the pod may still answer
	}()
	_, copyErr := io.Copy(local, data)
	if c, ok := local.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = data.Reset()
	said, _ := io.ReadAll(io.LimitReader(errs, 4096))
	if msg := strings.TrimSpace(string(said)); msg != "" {
		return errors.New(msg)
	}
	return copyErr
}

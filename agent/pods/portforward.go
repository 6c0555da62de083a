package pods

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network/rtnl"
)

// dialTimeout bounds a connection to a port on the pod's own loopback.
const dialTimeout = 10 * time.Second

// PortForward connects stream to a TCP port on the pod's loopback until both directions have ended, or ctx does.
func (p *Pods) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	v, err := p.Get(id)
	if err != nil {
		return err
	}
	if v.State != lifecycle.PodReady {
		return fmt.Errorf("forward to pod %s: it is %s: %w", v.ID, v.State, lifecycle.ErrState)
	}
	if port < 1 || port > 65535 {
		return fmt.Errorf("port %d: %w", port, lifecycle.ErrInvalid)
	}
	conn, err := dialIn(ctx, v.NetNS, int(port))
	if err != nil {
		return fmt.Errorf("forward to port %d of pod %s: %w", port, v.ID, err)
	}
	defer conn.Close()
	leave := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = stream.Close() })
	defer leave()
	return splice(conn.(*net.TCPConn), stream)
}

// splice copies both ways; the pod's end of output ends the forward, the client's end of input
// is passed on as a half-close.
func splice(conn *net.TCPConn, stream io.ReadWriteCloser) error {
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.CloseWrite()
	}()
	_, err := io.Copy(stream, conn)
	_ = stream.Close() // ends the copy of the client's input
	return err
}

// dialIn connects to 127.0.0.1, or to ::1, inside a network namespace ("" = the node's).
func dialIn(ctx context.Context, netns string, port int) (conn net.Conn, err error) {
	if netns == "" {
		return dialLoopback(ctx, port)
	}
	f, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = rtnl.Within(int(f.Fd()), func() (err error) {
		conn, err = dialLoopback(ctx, port)
		return err
	})
	return conn, err
}

// dialLoopback tries IPv4 and then IPv6 on the calling thread: literal addresses of one family each keep
// the dialer from starting goroutines, which would run in the node's namespace.
func dialLoopback(ctx context.Context, port int) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, FallbackDelay: -1}
	conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(port))); err6 == nil {
		return conn, nil
	}
	return nil, err
}

package streaming

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// trackedConn ends its context as soon as the peer is gone. net/http stops watching a
// connection once it is hijacked, so without this an exec that neither reads nor writes
// would outlive its client for ever (CVE-2022-23471).
type trackedConn struct {
	net.Conn
	ctx      context.Context
	cancel   context.CancelFunc
	forget   func(*trackedConn)
	hijacked atomic.Bool
}

func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	// net/http interrupts its own background read by a deadline in the past; only
	// what is not that ends the connection.
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.cancel()
	}
	return n, err
}

func (c *trackedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.cancel()
	}
	return n, err
}

func (c *trackedConn) Close() error {
	c.cancel()
	c.forget(c)
	return c.Conn.Close()
}

// conns is the set of open connections, so that closing the server reaches the hijacked
// ones too. It is the listener that the HTTP server accepts from.
type conns struct {
	net.Listener

	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool

	handlers sync.WaitGroup // added to under mu while not closed, so that Wait misses none
}

// enter counts a handler in; false when the server is closing. The handler calls handlers.Done.
func (s *conns) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.handlers.Add(1)
	}
	return !s.closed
}

func (s *conns) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, forget: s.forget}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	s.open[t] = struct{}{}
	return t, nil
}

func (s *conns) forget(c *trackedConn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
}

// closeAll closes every connection, refuses later ones, and waits for the handlers.
func (s *conns) closeAll() {
	s.mu.Lock()
	s.closed = true
	all := make([]*trackedConn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	s.handlers.Wait()
}

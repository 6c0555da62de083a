package monitor

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

const (
	helloLimit = 5 * time.Second
	// maxRequests bounds an agent's requests in flight; it waits with the next one.
	maxRequests = 1024
	// listPage leaves room in a packet for one more process.
	listPage = MaxMessage - 2048
)

// agentConn is the connection of one agent. Answers and exits leave it in the order in
// which they were queued, so that an exit never overtakes the answer to its launch.
type agentConn struct {
	s     *server
	conn  *packetConn
	slots chan struct{}

	mu     sync.Mutex
	queue  []packet
	wake   chan struct{} // capacity 1
	closed bool
}

type packet struct {
	bytes []byte
	fds   []int // closed once sent
	sent  func()
}

// serve shakes hands, displaces the agent before, and serves until the connection ends.
func (s *server) serve(conn *packetConn) {
	defer conn.close()
	_ = conn.f.SetReadDeadline(time.Now().Add(helloLimit))
	buf := make([]byte, MaxMessage)
	n, fds, err := conn.recv(buf)
	closeFDs(fds)
	if err != nil {
		return
	}
	r := wire.NewReader(buf[:n])
	kind, version := r.Uint(), r.Uint()
	var refused error
	if r.Err() != nil || kind != msgHello || version != Version {
		refused = fmt.Errorf("the agent speaks version %d of the protocol, this monitor %d: %w", version, Version, lifecycle.ErrUnsupported)
	}
	w := &wire.Writer{}
	w.Uint(msgWelcome)
	w.Uint(Version)
	w.Uint(uint64(os.Getpid()))
	encodeError(w, refused)
	if refused != nil {
		_ = conn.send(w.Bytes())
		return
	}
	_ = conn.f.SetReadDeadline(time.Time{})

	a := &agentConn{s: s, conn: conn, slots: make(chan struct{}, maxRequests), wake: make(chan struct{}, 1)}
	a.push(packet{bytes: w.Bytes()}) // first in the queue, before any exit
	s.mu.Lock()
	before := s.agent
	s.agent = a
	s.mu.Unlock()
	if before != nil {
		before.close()
	}
	go a.write()
	a.read(buf)
	a.close()
	s.mu.Lock()
	if s.agent == a {
		s.agent = nil
	}
	s.mu.Unlock()
}

func (a *agentConn) read(buf []byte) {
	for {
		n, fds, err := a.conn.recv(buf)
		if err != nil {
			return
		}
		r := wire.NewReader(append([]byte(nil), buf[:n]...))
		kind, seq, o := r.Uint(), r.Uint(), op(r.Uint())
		if kind != msgRequest || r.Err() != nil {
			closeFDs(fds)
			warn("the agent sent what is no request; disconnected")
			return
		}
		a.slots <- struct{}{}
		go func() {
			a.handle(seq, o, r, fds)
			<-a.slots
		}()
	}
}

// handle carries out one request and queues its answer.
func (a *agentConn) handle(seq uint64, o op, r *wire.Reader, fds []int) {
	ans := answer{w: &wire.Writer{}}
	err := a.s.handle(o, r, fds, &ans)
	w := &wire.Writer{}
	w.Uint(msgResponse)
	w.Uint(seq)
	encodeError(w, err)
	b := append(append(w.Bytes(), ans.w.Bytes()...), ans.tail...)
	a.push(packet{bytes: b, fds: ans.fds, sent: ans.sent})
	if ans.entry != nil {
		ans.entry.release()
	}
}

func (a *agentConn) exited(exit *Exit) {
	w := &wire.Writer{}
	w.Uint(msgExited)
	exit.encode(w)
	a.push(packet{bytes: w.Bytes()})
}

func (a *agentConn) push(p packet) {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		p.done()
		return
	}
	a.queue = append(a.queue, p)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (p *packet) done() {
	closeFDs(p.fds)
	if p.sent != nil {
		p.sent()
	}
}

func (a *agentConn) write() {
	for range a.wake {
		a.mu.Lock()
		batch, closed := a.queue, a.closed
		a.queue = nil
		a.mu.Unlock()
		for i := range batch {
			if !closed {
				if err := a.conn.send(batch[i].bytes, batch[i].fds...); err != nil {
					closed = true
					a.close()
				}
			}
			batch[i].done()
		}
		if closed {
			return
		}
	}
}

func (a *agentConn) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	a.conn.close()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// listen takes the socket over: the lock file beside it says whether its owner lives.
func listen(path string) (ln *os.File, lock *os.File, err error) {
	lock, err = os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("another monitor serves %q: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		lock.Close()
		return nil, nil, err
	}
	fd, err := bindSocket(path)
	if err != nil {
		lock.Close()
		return nil, nil, &os.PathError{Op: "listen", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), "listener"), lock, nil
}

func bindSocket(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	// The mode is right from the start: fchmod before bind decides the socket's file mode.
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		err = withAddress(path, func(a unix.Sockaddr) error { return unix.Bind(fd, a) })
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

// ErrClosed is Err's answer after Close.
var ErrClosed = errors.New("monitor: connection closed")

// Client is the agent's end. All methods may be called from several goroutines; a
// context that ends abandons the wait, not what the monitor does.
type Client struct {
	conn *packetConn
	pid  int
	done chan struct{}

	mu    sync.Mutex
	seq   uint64
	calls map[uint64]chan response
	err   error

	exits exitQueue
}

type response struct {
	body *wire.Reader
	fds  []int
	err  error
}

// Dial connects to a running monitor and displaces the agent it had. Errors: one that
// wraps lifecycle.ErrUnavailable when nobody listens, lifecycle.ErrUnsupported when
// the monitor speaks another version.
func Dial(ctx context.Context, socket string) (*Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = withAddress(socket, func(a unix.Sockaddr) error { return unix.Connect(fd, a) })
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to the monitor at %q: %w: %w", socket, err, lifecycle.ErrUnavailable)
	}
	conn, err := newPacketConn(fd)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, done: make(chan struct{}), calls: map[uint64]chan response{}}
	stop := context.AfterFunc(ctx, func() { conn.close() })
	err = c.hello()
	if !stop() && err != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.close()
		return nil, fmt.Errorf("monitor at %q: %w", socket, err)
	}
	c.exits.start()
	go c.read()
	return c, nil
}

func (c *Client) hello() error {
	w := &wire.Writer{}
	w.Uint(msgHello)
	w.Uint(Version)
	if err := c.conn.send(w.Bytes()); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, fds, err := c.conn.recv(buf)
	if err != nil {
		return err
	}
	closeFDs(fds)
	r := wire.NewReader(buf[:n])
	kind, version := r.Uint(), r.Uint()
	c.pid = int(r.Uint())
	refused := decodeError(r)
	switch {
	case r.Err() != nil || kind != msgWelcome:
		return fmt.Errorf("it does not speak this protocol: %w", lifecycle.ErrUnsupported)
	case refused != nil:
		return refused
	case version != Version:
		return fmt.Errorf("it speaks version %d of the protocol, this agent %d: %w", version, Version, lifecycle.ErrUnsupported)
	}
	return nil
}

// Pid is the monitor's process id.
func (c *Client) Pid() int { return c.pid }

// Done is closed when the connection has broken or was closed; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the connection stands, ErrClosed after Close, else the cause.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Exits tells of every process that ends, in the order in which the monitor told of it,
// without bound on how late they are read. It is closed once the connection has broken
// and what had arrived was read, or at Close. What is missed so is in the next List.
func (c *Client) Exits() <-chan Exit { return c.exits.out }

// Close breaks the connection; the monitor and its processes go on.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.exits.stop()
	return nil
}

// fail ends the connection once; later causes are ignored.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.conn.close()
	for seq, ch := range c.calls {
		ch <- response{err: err}
		delete(c.calls, seq)
	}
	c.exits.end()
	close(c.done)
}

func (c *Client) read() {
	buf := make([]byte, MaxMessage)
	for {
		n, fds, err := c.conn.recv(buf)
		if err != nil {
			if err == io.EOF {
				err = errors.New("the monitor closed the connection")
			}
			c.fail(fmt.Errorf("%w: %w", err, lifecycle.ErrUnavailable))
			return
		}
		r := wire.NewReader(buf[:n])
		switch kind := r.Uint(); kind {
		case msgResponse:
			seq := r.Uint()
			err := decodeError(r)
			rest := make([]byte, r.Len()) // outlives buf
			copy(rest, buf[n-r.Len():n])
			c.answer(seq, response{body: wire.NewReader(rest), fds: fds, err: err})
		case msgExited:
			closeFDs(fds)
			e := decodeExit(r)
			if r.Err() == nil {
				c.exits.push(e)
			}
		default:
			closeFDs(fds) // of a newer monitor; not for us
		}
	}
}

func (c *Client) answer(seq uint64, resp response) {
	c.mu.Lock()
	ch := c.calls[seq]
	delete(c.calls, seq)
	c.mu.Unlock()
	if ch == nil { // its caller has gone
		closeFDs(resp.fds)
		return
	}
	ch <- resp
}

// call sends one request and waits for its response, whose descriptors are the caller's.
func (c *Client) call(ctx context.Context, o op, fill func(*wire.Writer) []int) (response, error) {
	ch := make(chan response, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return response{}, c.err
	}
	c.seq++
	seq := c.seq
	c.calls[seq] = ch
	c.mu.Unlock()

	w := &wire.Writer{}
	w.Uint(msgRequest)
	w.Uint(seq)
	w.Uint(uint64(o))
	fds := fill(w)
	if err := c.conn.send(w.Bytes(), fds...); err != nil {
		c.mu.Lock()
		delete(c.calls, seq)
		c.mu.Unlock()
		if cause := c.Err(); cause != nil {
			err = cause
		}
		return response{}, err
	}
	select {
	case resp := <-ch:
		return resp, resp.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.calls, seq)
		c.mu.Unlock()
		select {
		case resp := <-ch: // it came meanwhile
			return resp, resp.err
		default:
			return response{}, ctx.Err()
		}
	}
}

func (c *Client) simple(ctx context.Context, o op, fill func(*wire.Writer)) error {
	resp, err := c.call(ctx, o, func(w *wire.Writer) []int { fill(w); return nil })
	closeFDs(resp.fds)
	return err
}

func byID(id string) func(*wire.Writer) { return func(w *wire.Writer) { w.String(id) } }

// Launch clones a process; see LaunchRequest for what it waits for. The request's
// descriptors stay the caller's. Errors: *LaunchError when init or the clone fails (no
// process is left), or one that wraps lifecycle.ErrExists, ErrNotFound (Target), ErrState
// (Target does not run) or ErrInvalid.
func (c *Client) Launch(ctx context.Context, q LaunchRequest) (*LaunchReply, error) {
	resp, err := c.call(ctx, opLaunch, q.encode)
	if err != nil {
		closeFDs(resp.fds)
		return nil, err
	}
	reply := &LaunchReply{Pid: int(resp.body.Uint())}
	console := resp.body.Bool()
	want := 1
	if console {
		want = 2
	}
	if resp.body.Err() != nil || len(resp.fds) != want {
		closeFDs(resp.fds)
		return nil, fmt.Errorf("launch %q: the monitor's answer does not parse", q.ID)
	}
	if console {
		// Only a non-blocking file has deadlines, and reads that Close ends.
		if err := unix.SetNonblock(resp.fds[1], true); err != nil {
			closeFDs(resp.fds)
			return nil, os.NewSyscallError("fcntl(O_NONBLOCK)", err)
		}
		reply.Console = os.NewFile(uintptr(resp.fds[1]), "console")
	}
	reply.Pidfd = os.NewFile(uintptr(resp.fds[0]), "pidfd")
	return reply, nil
}

// Release gives a holder its token and answers when it has exited 0, or, for a reaper,
// when it is ready.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.simple(ctx, opRelease, byID(id))
}

// StartContainer opens a container's start gate and answers when it has exec'd. A failed
// exec is a *LaunchError; the container's exit is then told as any other.
func (c *Client) StartContainer(ctx context.Context, id string) (startedAt time.Time, err error) {
	resp, err := c.call(ctx, opStart, func(w *wire.Writer) []int { w.String(id); return nil })
	closeFDs(resp.fds)
	if err != nil {
		return time.Time{}, err
	}
	startedAt = decodeTime(resp.body)
	return startedAt, resp.body.Err()
}

// Signal sends sig to the main process of id; lifecycle.ErrNotFound when it has exited
// or never was.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return c.simple(ctx, opSignal, func(w *wire.Writer) { w.String(id); w.Uint(uint64(sig)) })
}

// Resize sets the size of a container's terminal.
func (c *Client) Resize(ctx context.Context, id string, rows, cols uint16) error {
	return c.simple(ctx, opResize, func(w *wire.Writer) { w.String(id); w.Uint(uint64(rows)); w.Uint(uint64(cols)) })
}

// Attach connects to a container's streams from now on; output that nobody was attached
// to is in the log only.
func (c *Client) Attach(ctx context.Context, id string, stdin bool) (*Attachment, error) {
	resp, err := c.call(ctx, opAttach, func(w *wire.Writer) []int { w.String(id); w.Bool(stdin); return nil })
	if err != nil {
		closeFDs(resp.fds)
		return nil, err
	}
	if len(resp.fds) != 1 {
		closeFDs(resp.fds)
		return nil, fmt.Errorf("attach %q: the monitor's answer does not parse", id)
	}
	conn, err := newPacketConn(resp.fds[0])
	if err != nil {
		return nil, err
	}
	return &Attachment{conn: conn, stdin: stdin}, nil
}

// ReopenLog opens a container's log path anew, after rotation by rename: every line is in
// the old file or in the new one, none in both.
func (c *Client) ReopenLog(ctx context.Context, id string) error {
	return c.simple(ctx, opReopenLog, byID(id))
}

// Forget drops an exited process and its exit record; nil if there is none.
// lifecycle.ErrState while it runs.
func (c *Client) Forget(ctx context.Context, id string) error {
	return c.simple(ctx, opForget, byID(id))
}

// List is every process that was not forgotten, in the order of ids. A process that ends
// while List runs is told of by Exits, in List, or by both.
func (c *Client) List(ctx context.Context) ([]Process, error) {
	var all []Process
	after := ""
	for {
		resp, err := c.call(ctx, opList, func(w *wire.Writer) []int { w.String(after); return nil })
		closeFDs(resp.fds)
		if err != nil {
			return nil, err
		}
		more := resp.body.Bool()
		for range resp.body.Count(6) {
			all = append(all, decodeProcess(resp.body))
		}
		if err := resp.body.Err(); err != nil {
			return nil, err
		}
		if !more {
			return all, nil
		}
		after = all[len(all)-1].ID
	}
}

// Shutdown ends the monitor: lifecycle.ErrState while it has processes, unless force,
// which kills them first.
func (c *Client) Shutdown(ctx context.Context, force bool) error {
	return c.simple(ctx, opShutdown, func(w *wire.Writer) { w.Bool(force) })
}

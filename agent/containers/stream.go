package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Exec runs cmd with the caller's streams and returns its exit code. When the caller leaves (ctx), the
// exec is killed with its whole session.
func (c *Containers) Exec(ctx context.Context, id string, cmd []string, s Streams) (int, error) {
	if s.TTY {
		return c.execTerminal(ctx, id, cmd, s)
	}
	p, err := newPipes(s)
	if err != nil {
		return 0, err
	}
	defer p.close()
	run, err := c.exec(ctx, id, cmd, false, p.child)
	if err != nil {
		return 0, err
	}
	p.start(s)
	exit, err := c.wait(ctx, run, 0)
	p.drain(time.Now().Add(drainWait))
	return exit.Code, err
}

// copyOutput copies until r ends, or until its deadline passes; then what r holds already is still
// delivered, so that a client that reads slowly loses nothing to a left-over child's clock.
func copyOutput(w io.Writer, r *os.File) {
	if _, err := io.Copy(w, r); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	buf := make([]byte, pipeSize)
	_ = r.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, _ := r.Read(buf); n > 0 {
		_, _ = w.Write(buf[:n])
	}
}

// pipeSize is a pipe's default capacity, pipe(7), in bytes.
const pipeSize = 64 << 10

// pipes connect an exec's three streams.
type pipes struct {
	child, ours [3]*os.File
	outputs     sync.WaitGroup
}

func newPipes(s Streams) (*pipes, error) {
	p := &pipes{}
	wanted := [3]bool{s.Stdin != nil, s.Stdout != nil, s.Stderr != nil}
	for i, want := range wanted {
		if !want {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		if p.child[i], p.ours[i] = w, r; i == 0 {
			p.child[i], p.ours[i] = r, w
		}
	}
	return p, nil
}

// start copies in the background; the exec holds its ends by now.
func (p *pipes) start(s Streams) {
	closeAll(&p.child)
	if in := p.ours[0]; in != nil {
		go func() { // ends with the client's stream, the pipe at the latest with the exec
			defer in.Close()
			_, _ = io.Copy(in, s.Stdin)
		}()
	}
	for i, w := range map[int]io.Writer{1: s.Stdout, 2: s.Stderr} {
		if r := p.ours[i]; r != nil {
			p.outputs.Go(func() { copyOutput(w, r) })
		}
	}
}

// drain waits for the ends of the outputs, at most until the given time.
func (p *pipes) drain(until time.Time) {
	for _, f := range p.ours[1:] {
		if f != nil {
			_ = f.SetReadDeadline(until)
		}
	}
	p.outputs.Wait()
}

func (p *pipes) close() {
	closeAll(&p.child)
	closeAll(&p.ours)
}

func closeAll(files *[3]*os.File) {
	for i, f := range files {
		if f != nil {
			_ = f.Close()
			files[i] = nil
		}
	}
}

func (c *Containers) execTerminal(ctx context.Context, id string, cmd []string, s Streams) (int, error) {
	run, err := c.exec(ctx, id, cmd, true, [3]*os.File{})
	if err != nil {
		return 0, err
	}
	console := run.exec.Console
	if s.Stdin != nil {
		go func() { _, _ = io.Copy(console, s.Stdin) }()
	}
	var output sync.WaitGroup
	if s.Stdout != nil {
		output.Go(func() { copyOutput(s.Stdout, console) }) // ends with EIO when the last slave is closed
	}
	stop := c.resizeLoop(ctx, s.Resize, func(size Size) error { return runtime.ResizeConsole(console, size.Rows, size.Cols) })
	exit, err := c.wait(ctx, run, 0)
	stop()
	_ = console.SetReadDeadline(time.Now().Add(drainWait))
	output.Wait()
	return exit.Code, errors.Join(err, console.Close())
}

// resizeLoop applies sizes until stop is called, ctx ends or the channel closes.
func (c *Containers) resizeLoop(ctx context.Context, sizes <-chan Size, apply func(Size) error) (stop func()) {
	if sizes == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case size, ok := <-sizes:
				if !ok {
					return
				}
				if err := apply(size); err != nil {
					c.o.Log.WithError(err).Debug("terminal could not be resized")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Attach connects the caller's streams to the container's own until it exits or the caller leaves.
func (c *Containers) Attach(ctx context.Context, id string, s Streams) error {
	e, err := c.inv.Find(id)
	if err != nil {
		return err
	}
	v := e.Snapshot()
	if v.State != lifecycle.ContainerRunning && v.State != lifecycle.ContainerCreated {
		return fmt.Errorf("attach to container %s: it is %s: %w", v.ID, v.State, lifecycle.ErrState)
	}
	stdin := s.Stdin != nil && v.Config.GetStdin()
	a, err := c.o.Runtime.Attach(ctx, v.ID, stdin)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", v.ID, err)
	}
	leave := context.AfterFunc(ctx, func() { _ = a.Close() })
	defer leave()
	if stdin {
		go func() {
			_, _ = io.Copy(a, s.Stdin)
			_ = a.CloseStdin()
		}()
	}
	stop := c.resizeLoop(ctx, s.Resize, func(size Size) error { return c.o.Runtime.Resize(ctx, v.ID, size.Rows, size.Cols) })
	err = a.CopyOutput(writer(s.Stdout), writer(s.Stderr))
	stop()
	if ctx.Err() != nil {
		return nil // the client left, which is how most attachments end
	}
	return errors.Join(err, a.Close())
}

// writer turns a nil stream into a nil interface.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

package streaming

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/slipway-cri/slipway/agent/containers"
)

// session is one exec or attach. It hands the service only those streams that the request
// named: the library passes streams that are there but go nowhere.
type session struct {
	s    *Server
	opts *remotecommand.Options
	id   string
	cmd  []string
}

// stdio is a connection's ends, as both transports have them.
type stdio struct {
	in       io.Reader
	out, err io.WriteCloser
	resize   <-chan remotecommand.TerminalSize
}

func (x session) exec(ctx context.Context, io stdio) error {
	streams, done := x.streams(ctx, io)
	defer done()
	defer closeOutputs(streams)
	code, err := x.s.o.Containers.Exec(ctx, x.id, x.cmd, streams)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

func (x session) attach(ctx context.Context, io stdio) error {
	streams, done := x.streams(ctx, io)
	defer done()
	defer closeOutputs(streams)
	return x.s.o.Containers.Attach(ctx, x.id, streams)
}

// closeOutputs tells a SPDY client that the outputs are complete. The library ends the
// connection by resetting its streams, which drops what the client has not read of one
// that is still open.
func closeOutputs(s containers.Streams) {
	for _, w := range []io.Closer{s.Stdout, s.Stderr} {
		if w != nil {
			_ = w.Close() // the service may have done so; a client that is gone does not matter
		}
	}
}

// ExecInContainer implements remotecommand.Executor.
func (x session) ExecInContainer(ctx context.Context, _, _, _ string, _ []string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return x.exec(ctx, stdio{in, out, err, resize})
}

// AttachContainer implements remotecommand.Attacher.
func (x session) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	return x.attach(ctx, stdio{in, out, err, resize})
}

func (x session) streams(ctx context.Context, io stdio) (containers.Streams, context.CancelFunc) {
	streams := containers.Streams{TTY: x.opts.TTY}
	if x.opts.Stdin {
		streams.Stdin = io.in
	}
	if x.opts.Stdout {
		streams.Stdout = io.out
	}
	if x.opts.Stderr && !x.opts.TTY {
		streams.Stderr = io.err
	}
	if io.resize == nil {
		return streams, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	sizes := make(chan containers.Size, 1)
	go relaySizes(ctx, io.resize, sizes)
	if x.opts.TTY {
		streams.Resize = sizes
	}
	return streams, cancel
}

// relaySizes reads every size at once and keeps the newest: a size that nobody takes
// must not hold up the connection's reader, behind which stdin waits.
func relaySizes(ctx context.Context, in <-chan remotecommand.TerminalSize, out chan containers.Size) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-in:
			if !ok {
				return
			}
			if size.Width == 0 || size.Height == 0 {
				continue
			}
			select {
			case <-out:
			default:
			}
			out <- containers.Size{Rows: size.Height, Cols: size.Width} // this goroutine alone fills it
		}
	}
}

// exitError is a process's non-zero exit code, as the library recognises one.
type exitError int

func (e exitError) Error() string   { return fmt.Sprintf("command terminated with exit code %d", int(e)) }
func (e exitError) String() string  { return e.Error() }
func (e exitError) Exited() bool    { return true }
func (e exitError) ExitStatus() int { return int(e) }

// forwarder ties forwarded connections to the client's, which the library does not.
type forwarder struct {
	pods Pods
	conn context.Context
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(_ context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.pods.PortForward(f.conn, pod, port, stream)
}

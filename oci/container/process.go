package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-cri/slipway/oci/checkpoint"
)

// ErrNoGate is returned when a gate is opened that the launch did not ask for or that was opened before.
var ErrNoGate = errors.New("container: no such gate, or opened already")

// InitError is why slipway-init gave up: what it was doing, on what, and why.
type InitError struct {
	Step, Path string
	Errno      syscall.Errno // 0 if the kernel did not refuse
	Message    string        // "" if step, path and errno say it all
}

// Error names step, path, errno and message, as far as they are known.
func (e *InitError) Error() string {
	var b strings.Builder
	b.WriteString("init: " + e.Step)
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	if e.Errno != 0 {
		b.WriteString(": " + e.Errno.Error())
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap gives the errno, so that errors.Is(err, fs.ErrNotExist) works.
func (e *InitError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// ErrGone means that init ended without a word: killed, or the machine ran out of memory.
var ErrGone = errors.New("container: init is gone without a report")

// Process is a launched child. Its methods may be called from several goroutines.
type Process struct {
	Pid   int
	Pidfd *os.File // owned; closed by Close

	checkpoint *checkpoint.Gate
	start      *checkpoint.Gate // nil without Launch.StartGate

	report *checkpoint.ReportConn
	ready  atomic.Bool
	mu     sync.Mutex // held while a report is awaited
	failed error      // under mu
}

// Parts are a Process's descriptors for mirroring it in another process. Those that are
// used up already are nil. They stay the Process's.
type Parts struct {
	Pid                              int
	Pidfd, Checkpoint, Start, Report *os.File
	Ready                            bool // WaitReady has returned
}

// Parts returns the descriptors of p.
func (p *Process) Parts() Parts {
	q := Parts{
		Pid: p.Pid, Pidfd: p.Pidfd, Checkpoint: p.checkpoint.WriteEnd(),
		Report: p.report.File(), Ready: p.ready.Load(),
	}
	if p.start != nil {
		q.Start = p.start.WriteEnd()
	}
	return q
}

// Adopt makes a Process of the descriptors of one that another process launched, and
// owns them. Report must be non-blocking.
func Adopt(q Parts) *Process {
	p := &Process{
		Pid: q.Pid, Pidfd: q.Pidfd,
		checkpoint: checkpoint.Adopt(q.Checkpoint), report: checkpoint.AdoptReport(q.Report),
	}
	if q.Start != nil {
		p.start = checkpoint.Adopt(q.Start)
	}
	p.ready.Store(q.Ready)
	return p
}

// Release opens the checkpoint: the parent's set-up is done. EPIPE means that the child
// is gone; WaitReady says why.
func (p *Process) Release() error {
	if err := p.checkpoint.Release(); err != nil {
		if errors.Is(err, os.ErrClosed) {
			return ErrNoGate
		}
		return fmt.Errorf("release the checkpoint of %d: %w", p.Pid, err)
	}
	return nil
}

// WaitReady waits until init has done the inside's set-up and returns the pty's master
// where one was asked for (the caller's to close). Errors are *InitError, ErrGone or the
// context's; after an error the child is to be killed or Aborted, and reaped.
func (p *Process) WaitReady(ctx context.Context) (console *os.File, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready.Load() {
		return nil, nil
	}
	defer func() {
		if err != nil && console != nil {
			console.Close()
			console = nil
		}
	}()
	for {
		r, err := p.receive(ctx)
		if errors.Is(err, io.EOF) {
			err = ErrGone
		}
		if err != nil {
			return console, err
		}
		switch {
		case r.Kind == checkpoint.Ready:
			p.ready.Store(true)
			return console, nil
		case r.Kind == checkpoint.Console && console == nil:
			console = os.NewFile(uintptr(r.FD), "/dev/ptmx")
		default:
			return console, checkpoint.ErrMalformed
		}
	}
}

// Start opens the start gate, if there is one, and waits until the child has exec'd. A
// failed exec (missing binary, wrong architecture) is an *InitError with step "exec".
// Without a start gate (ModeExec) it only waits for the exec.
func (p *Process) Start() error {
	return p.StartContext(context.Background())
}

// StartContext is Start with an end to the waiting.
func (p *Process) StartContext(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ready.Load() {
		return errors.New("container: start before ready")
	}
	if p.failed != nil {
		return p.failed
	}
	if p.start != nil {
		switch err := p.start.Release(); {
		case errors.Is(err, os.ErrClosed):
			return ErrNoGate
		case err != nil:
			return fmt.Errorf("open the start gate of %d: %w", p.Pid, err)
		}
	}
	_, err := p.receive(ctx)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		err = checkpoint.ErrMalformed
	}
	return err
}

// receive returns the next report; a Failure becomes an *InitError and stays p's answer.
func (p *Process) receive(ctx context.Context) (checkpoint.Report, error) {
	if p.failed != nil {
		return checkpoint.Report{FD: -1}, p.failed
	}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = p.report.SetDeadline(time.Unix(1, 0))
		close(over)
	})
	r, err := p.report.Receive()
	if !stop() {
		<-over // else it could still spoil the next call's deadline
		_ = p.report.SetDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err == nil && r.Kind == checkpoint.Failure {
		err = &InitError{Step: r.Step, Path: r.Path, Errno: syscall.Errno(r.Errno), Message: r.Message}
		p.failed = err
	}
	return r, err
}

// Abort closes the gates without a token: a child that still waits at one exits with
// checkpoint.ExitAborted and runs nothing of the user's.
func (p *Process) Abort() {
	p.checkpoint.Abort()
	if p.start != nil {
		p.start.Abort()
	}
}

// Close aborts what is not released and closes every descriptor of p. It does not kill
// and does not reap.
func (p *Process) Close() {
	p.Abort()
	_ = p.report.Close()
	if p.Pidfd != nil {
		_ = p.Pidfd.Close()
	}
}

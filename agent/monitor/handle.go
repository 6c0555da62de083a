package monitor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

// answer is what a handler gives beside its error.
type answer struct {
	w     *wire.Writer
	fds   []int
	entry *entry // held until the answer is queued
	tail  []byte // follows w
	sent  func() // called when the answer has left, or never will
}

func hasKind(err error) bool {
	for _, kind := range errorKinds {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// handle decodes and carries out one request; it owns fds.
func (s *server) handle(o op, r *wire.Reader, fds []int, ans *answer) error {
	if o == opLaunch {
		return s.handleLaunch(r, fds, ans)
	}
	closeFDs(fds)
	switch o {
	case opList:
		return s.handleList(r, ans)
	case opForget:
		id := r.String()
		if r.Err() != nil {
			return errRequest(r)
		}
		return s.forget(id)
	case opShutdown:
		force := r.Bool()
		if r.Err() != nil {
			return errRequest(r)
		}
		err := s.shutdown(force)
		if err == nil {
			ans.sent = s.end
		}
		return err
	}
	id := r.String()
	if r.Err() != nil {
		return errRequest(r)
	}
	e, err := s.lookup(id)
	if err != nil {
		return err
	}
	return s.handleEntry(o, e, r, ans)
}

func errRequest(r *wire.Reader) error {
	return fmt.Errorf("request: %w: %w", r.Err(), lifecycle.ErrInvalid)
}

// handleEntry are the requests about one process.
func (s *server) handleEntry(o op, e *entry, r *wire.Reader, ans *answer) error {
	switch o {
	case opRelease:
		return e.handleRelease(ans)
	case opStart:
		e.hold()
		ans.entry = e
		at, err := e.start()
		encodeTime(ans.w, at)
		return err
	case opSignal:
		sig := syscall.Signal(r.Uint())
		if r.Err() != nil {
			return errRequest(r)
		}
		return e.signal(sig)
	case opResize:
		rows, cols := uint16(r.Uint()), uint16(r.Uint())
		if r.Err() != nil {
			return errRequest(r)
		}
		return e.resize(rows, cols)
	case opAttach:
		return e.handleAttach(r.Bool(), ans)
	case opReopenLog:
		return e.handleReopen()
	}
	return fmt.Errorf("request %d: %w", o, lifecycle.ErrUnsupported)
}

func (s *server) handleLaunch(r *wire.Reader, fds []int, ans *answer) error {
	var q LaunchRequest
	if err := q.decode(r, fds); err != nil {
		if !hasKind(err) {
			err = errRequest(r)
		}
		return err
	}
	defer q.close()
	e, got, err := s.launch(&q)
	if err != nil {
		return err
	}
	ans.entry = e
	ans.w.Uint(uint64(got.pid))
	ans.w.Bool(got.console != nil)
	ans.fds = []int{got.pidfd}
	if got.console != nil {
		defer got.console.Close()
		fd, err := dup(int(got.console.Fd()))
		if err != nil { // it runs, and the agent will see it in List
			return err
		}
		ans.fds = append(ans.fds, fd)
	}
	return nil
}

func (e *entry) handleRelease(ans *answer) error {
	if e.kind != KindHolder {
		return fmt.Errorf("release %s, which is not a holder: %w", e.id, lifecycle.ErrInvalid)
	}
	e.hold()
	ans.entry = e
	return e.releaseHolder()
}

func (e *entry) handleAttach(stdin bool, ans *answer) error {
	if e.kind != KindContainer {
		return fmt.Errorf("attach to %s, which is not a container: %w", e.id, lifecycle.ErrInvalid)
	}
	fd, err := e.attached.open(stdin)
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("attach to %s, which has exited: %w", e.id, lifecycle.ErrState)
	}
	if err != nil {
		return err
	}
	ans.fds = []int{fd}
	return nil
}

func (e *entry) handleReopen() error {
	if e.log == nil {
		return fmt.Errorf("%s has no log: %w", e.id, lifecycle.ErrState)
	}
	err := e.log.reopen()
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("reopen the log of %s, which has exited: %w", e.id, lifecycle.ErrState)
	}
	return err
}

func (s *server) handleList(r *wire.Reader, ans *answer) error {
	after := r.String()
	if r.Err() != nil {
		return errRequest(r)
	}
	var page wire.Writer
	count, more := uint64(0), false
	for _, e := range s.list(after) {
		if len(page.Bytes()) > listPage {
			more = true
			break
		}
		p := e.describe()
		p.encode(&page)
		count++
	}
	ans.w.Bool(more)
	ans.w.Uint(count)
	ans.tail = page.Bytes()
	return nil
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// undoFor bounds a rollback, which goes on when the caller has left.
const undoFor = 30 * time.Second

// undoList is what to take back, newest first.
type undoList []func(context.Context) error

func (u *undoList) add(f func(context.Context) error) { *u = append(*u, f) }

// on carries the list out if err is not nil, and adds to err what could not be undone.
func (u undoList) on(err error) error {
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoFor)
	defer cancel()
	errs := []error{err}
	for i := len(u) - 1; i >= 0; i-- {
		if e := u[i](ctx); e != nil {
			errs = append(errs, fmt.Errorf("undo: %w", e))
		}
	}
	return errors.Join(errs...)
}

// launch is a request before its descriptors are opened.
type launch struct {
	config  *initconf.Config
	cgroup  cgroup          // where the process is to live; nil = the monitor's
	pidns   string          // path of the PID namespace to be born in
	user    string          // path of the user namespace to be born in
	joins   []initconf.Join // namespaces joined on the way there
	request monitor.LaunchRequest
}

// launch opens what the request needs, sends it and enters the process. It waits for the
// answer even when ctx ends: only then is it known whether there is something to undo.
// The monitor bounds it (container.Deadline).
func (r *Runtime) launch(ctx context.Context, m Monitor, p *process, q *launch) error {
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	keep := func(f *os.File, err error) (*os.File, error) {
		if f != nil {
			open = append(open, f)
		}
		return f, err
	}
	var err error
	if q.cgroup != nil {
		q.enter(q.cgroup.TasksFiles())
		if q.request.Cgroup, err = keep(q.cgroup.OpenDir()); err != nil {
			return err
		}
	}
	if q.pidns != "" {
		if q.request.PIDNS, err = keep(os.Open(q.pidns)); err != nil {
			return fmt.Errorf("PID namespace to join: %w", err)
		}
	}
	if q.user != "" {
		if err := r.openUser(q, keep); err != nil {
			return err
		}
	}
	score := q.parentScore()
	if q.request.Config, err = keep(container.ConfigMemfd(q.config.Encode())); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), container.Deadline+10*time.Second)
	defer cancel()
	reply, err := m.Launch(wait, q.request)
	if err != nil {
		return launchError(err)
	}
	p.started(reply)
	return q.afterClone(reply.Pid, score)
}

// initError is init's or the monitor's report of what went wrong, which errors.Is also
// finds as its errno (syscall.ENOENT for a missing executable).
type initError struct{ *monitor.LaunchError }

func (e initError) Unwrap() []error {
	if e.Errno == 0 {
		return []error{e.LaunchError}
	}
	return []error{e.LaunchError, syscall.Errno(e.Errno)}
}

func (e initError) Error() string {
	s := e.LaunchError.Error()
	if text := syscall.Errno(e.Errno).Error(); e.Errno != 0 && !strings.HasSuffix(s, text) {
		s += ": " + text
	}
	return s
}

func launchError(err error) error {
	var le *monitor.LaunchError
	if errors.As(err, &le) {
		return initError{le}
	}
	return err
}

// await waits until the process's exit was told.
func (r *Runtime) await(ctx context.Context, p *process) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", p.id, ctx.Err())
	}
}

// endProcess kills a main process, waits for its end and forgets it. One that is not
// there is no error.
func (r *Runtime) endProcess(ctx context.Context, id string) error {
	m, err := r.monitor(ctx)
	if err != nil {
		return err
	}
	if p := r.procs.get(id); p == nil || !p.hasEnded() {
		if err := m.Signal(ctx, id, syscall.SIGKILL); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
			return err
		}
	}
	if err := r.forgetEnded(ctx, m, id); err != nil {
		return err
	}
	r.procs.drop(id)
	return nil
}

// forgetEnded waits for the end of a killed process, so that Forget is allowed. Its exit
// comes as an event; a process in uninterruptible sleep takes its time, which ctx bounds.
func (r *Runtime) forgetEnded(ctx context.Context, m Monitor, id string) error {
	err := m.Forget(ctx, id)
	if !errors.Is(err, lifecycle.ErrState) {
		return err
	}
	if p := r.procs.get(id); p != nil {
		if err := r.await(ctx, p); err != nil {
			return err
		}
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err := m.Forget(ctx, id); !errors.Is(err, lifecycle.ErrState) {
			return err
		}
		t := time.NewTimer(wait) // not in our table: there is no event to wait for
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("wait for the end of %s: %w", id, ctx.Err())
		}
	}
}

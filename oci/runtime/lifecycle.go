package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/cgroups"
	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/container"
)

// in locks container id, and gives f its record if the container is in one of the states.
func (r *Runtime) in(ctx context.Context, id string, f func(*box, *record) error, states ...specs.ContainerState) error {
	b, err := r.box(id)
	if err != nil {
		return err
	}
	if err := b.acquire(ctx); err != nil {
		return err
	}
	defer b.release()
	rec, err := b.record()
	if err != nil {
		return err
	}
	status, err := b.status(rec)
	if err != nil {
		return err
	}
	if !slices.Contains(states, status) {
		return fmt.Errorf("container %s is %s: %w", id, status, ErrState)
	}
	return f(b, rec)
}

// Start opens the start gate and answers when the process has exec'd; an exec that failed is a
// *container.InitError and leaves the container stopped.
func (r *Runtime) Start(ctx context.Context, id string) error {
	return r.in(ctx, id, func(b *box, _ *record) error {
		gate, err := b.gate()
		if err != nil {
			return fmt.Errorf("start %s: %w", id, err)
		}
		defer gate.Close()
		if _, err := gate.Write([]byte{child.Token}); err != nil {
			return fmt.Errorf("start %s: %w", id, err)
		}
		raw, err := gate.SyscallConn()
		if err != nil {
			return err
		}
		// POLLERR: the last reader, init, has closed its end by exec or by ending.
		var waited error
		if err := raw.Control(func(fd uintptr) { waited = await(ctx, int(fd), 0) }); err != nil {
			return err
		}
		if waited != nil {
			return fmt.Errorf("start %s: wait for the exec: %w", id, waited)
		}
		if err := b.execError(); err != nil {
			return fmt.Errorf("start %s: %w", id, err)
		}
		return nil
	}, specs.StateCreated)
}

// execError reads what init has written into the gate before it gave up. The caller's writing end keeps
// the pipe and what is in it.
func (b *box) execError() error {
	fd, err := unix.Open(b.path(gateFile), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: b.path(gateFile), Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, child.MaxReport)
	n, err := unix.Read(fd, buf)
	if n <= 0 || err != nil {
		return nil // empty: it has exec'd
	}
	if buf[0] == child.Token {
		return container.ErrGone // it ended before it had read the token
	}
	p, err := child.Decode(buf[:n])
	if err != nil {
		return err
	}
	return &container.InitError{Step: p.Step, Path: p.Path, Errno: syscall.Errno(p.Errno), Message: p.Message}
}

// Kill sends sig to the container's process, or with all to every process of its cgroup. ErrState when
// it is stopped, except that all finds what a container without a PID namespace of its own left behind.
func (r *Runtime) Kill(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	b, err := r.box(id)
	if err != nil {
		return err
	}
	rec, err := b.record()
	if err != nil {
		return err
	}
	if all && rec.Cgroup != "" {
		return killCgroup(ctx, rec, sig)
	}
	err = rec.Process.signal(sig)
	if errors.Is(err, errEnded) {
		return fmt.Errorf("container %s is stopped: %w", id, ErrState)
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", id, err)
	}
	return nil
}

func killCgroup(ctx context.Context, rec *record, sig syscall.Signal) error {
	cg, err := cgroups.Open(rec.Cgroup)
	if err != nil {
		return err
	}
	if sig == syscall.SIGKILL {
		return cg.KillAll(ctx)
	}
	pids, err := cg.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal %s to %d: %w", unix.SignalName(sig), pid, err)
		}
	}
	return nil
}

// Delete gives back what a stopped container still has: cgroup, processes left in it, state. With force
// a living one is killed first, and one that does not exist is no error. It may be repeated.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	err := r.delete(ctx, id, force)
	if force && errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (r *Runtime) delete(ctx context.Context, id string, force bool) error {
	if force {
		if err := r.interrupt(ctx, id); err != nil {
			return err
		}
	}
	states := []specs.ContainerState{specs.StateStopped}
	if force {
		states = append(states, specs.StateCreated, specs.StateRunning, Paused)
	}
	return r.in(ctx, id, func(b *box, rec *record) error {
		if rec.Cgroup != "" {
			cg, err := cgroups.Open(rec.Cgroup)
			if err != nil {
				return err
			}
			if err := endAll(ctx, rec.Process, cg); err != nil {
				return fmt.Errorf("delete %s: %w", id, err)
			}
		}
		return os.RemoveAll(b.dir)
	}, states...)
}

// interrupt kills the process of a creation that is under way, and so holds the lock: Create fails then
// and gives the lock back.
func (r *Runtime) interrupt(ctx context.Context, id string) error {
	b, err := r.box(id)
	if err != nil {
		return err
	}
	rec, err := b.record()
	if err != nil || rec.Ready {
		return err
	}
	if err := rec.Process.signal(syscall.SIGKILL); err != nil && !errors.Is(err, errEnded) {
		return err
	}
	return ctx.Err()
}

// endAll ends a container's processes. A frozen v1 cgroup handles no signal until it is thawed, which
// KillAll does once the signals are pending: so that nothing of the container's runs again.
func endAll(ctx context.Context, p process, cg *cgroups.Cgroup) error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, errEnded) {
		return err
	}
	if err := removeCgroup(ctx, cg); err != nil {
		return err
	}
	return p.kill(ctx)
}

// Pause freezes a running container; it returns when all of its processes stand still.
func (r *Runtime) Pause(ctx context.Context, id string) error {
	return r.in(ctx, id, func(_ *box, rec *record) error {
		cg, err := cgroups.Open(rec.Cgroup)
		if err != nil {
			return err
		}
		return cg.Freeze(ctx)
	}, specs.StateRunning, specs.StateCreated)
}

// Resume lets a paused container run again.
func (r *Runtime) Resume(ctx context.Context, id string) error {
	return r.in(ctx, id, func(_ *box, rec *record) error {
		cg, err := cgroups.Open(rec.Cgroup)
		if err != nil {
			return err
		}
		return cg.Thaw()
	}, Paused)
}

// Update sets the limits that res has and leaves the others (cgroups.Update), all of them or none.
func (r *Runtime) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	return r.in(ctx, id, func(_ *box, rec *record) error {
		cg, err := cgroups.Open(rec.Cgroup)
		if err != nil {
			return err
		}
		_, err = cg.Change(res)
		return err
	}, specs.StateCreated, specs.StateRunning, Paused)
}

// Pids lists the processes of container id, as the caller's PID namespace numbers them.
func (r *Runtime) Pids(id string) ([]int, error) {
	s, err := r.State(id)
	if err != nil {
		return nil, err
	}
	cg, err := cgroups.Open(s.Cgroup)
	if err != nil {
		return nil, err
	}
	return cg.Pids()
}

// Wait waits for the end of a container that this process has created, and reaps it: the exit status is
// kept nowhere else. Of another's child it is ECHILD.
func (r *Runtime) Wait(ctx context.Context, id string) (syscall.WaitStatus, error) {
	b, err := r.box(id)
	if err != nil {
		return 0, err
	}
	rec, err := b.record()
	if err != nil {
		return 0, err
	}
	return wait(ctx, rec.Process.Pid)
}

// wait reaps the child pid, whose pid stays its own until then.
func wait(ctx context.Context, pid int) (syscall.WaitStatus, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if err := await(ctx, fd, unix.POLLIN); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(time.Second); ; {
		var ws unix.WaitStatus
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case got == pid:
			return syscall.WaitStatus(ws), nil
		case time.Now().After(deadline):
			return 0, fmt.Errorf("wait for %d: it has ended but cannot be reaped", pid)
		}
	}
}

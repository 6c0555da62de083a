package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// checkID keeps ids usable as file names.
func checkID(id string) error {
	ok := len(id) > 0 && len(id) <= 200 && id[0] != '.'
	for i := range len(id) {
		ok = ok && id[i] > ' ' && id[i] != '/' && id[i] < 0x7f
	}
	if !ok {
		return fmt.Errorf("id %q: %w", id, lifecycle.ErrInvalid)
	}
	return nil
}

func (q *LaunchRequest) check() error {
	if err := checkID(q.ID); err != nil {
		return err
	}
	switch {
	case q.Config == nil:
		return fmt.Errorf("launch %s without a configuration: %w", q.ID, lifecycle.ErrInvalid)
	case q.Kind < KindHolder || q.Kind > KindExec:
		return fmt.Errorf("launch %s of kind %d: %w", q.ID, q.Kind, lifecycle.ErrInvalid)
	case q.CloneFlags&syscall.CLONE_NEWUSER != 0 && (q.Kind != KindHolder || len(q.UIDMap) == 0 || len(q.GIDMap) == 0):
		return fmt.Errorf("launch %s: a new user namespace is a holder's, with id maps: %w", q.ID, lifecycle.ErrInvalid)
	}
	return nil
}

// launched is the answer to a launch; its descriptors are duplicates, to be closed once sent.
type launched struct {
	pid     int
	pidfd   int
	console *os.File
}

// launch clones a process and waits for what its kind calls for. When it fails, nothing
// is left: no process, no entry. When it succeeds, the caller owes the entry a release.
func (s *server) launch(q *LaunchRequest) (*entry, launched, error) {
	if err := q.check(); err != nil {
		return nil, launched{}, err
	}
	e := newEntry(s, q)
	if err := s.insert(e); err != nil {
		return nil, launched{}, err
	}
	got, err := s.launchEntry(e, q)
	if err == nil {
		close(e.settled)
		return e, got, nil
	}
	if got.console != nil {
		got.console.Close()
	}
	e.mu.Lock()
	e.failed = true
	proc := e.proc
	e.mu.Unlock()
	close(e.settled)
	if proc != nil {
		_ = unix.PidfdSendSignal(int(proc.Pidfd.Fd()), unix.SIGKILL, nil, 0)
		<-e.done
		proc.Close()
	} else {
		close(e.done)
	}
	e.abandon()
	s.remove(e)
	return nil, launched{}, launchError(err)
}

func (s *server) launchEntry(e *entry, q *LaunchRequest) (got launched, err error) {
	l := container.Launch{
		Init: s.init, CloneFlags: uintptr(q.CloneFlags), ConfigFile: q.Config,
		CgroupFD: fdOf(q.Cgroup), PIDNS: fdOf(q.PIDNS), Target: -1,
		StartGate: q.Kind == KindContainer, UIDMap: q.UIDMap, GIDMap: q.GIDMap, Extra: q.Extra,
	}
	var stdio childEnds
	defer stdio.close()
	var user userEnds
	defer user.close()
	switch q.Kind {
	case KindHolder:
		var mode initconf.Mode
		mode, err = q.mode()
		e.stays = mode == initconf.ModeReaper
	case KindContainer:
		stdio, err = e.openStreams(q)
		l.Stdio = stdio
	case KindExec:
		l.Stdio = q.Stdio
		var t target
		t, err = s.target(q)
		defer t.close()
		l.Target, l.PIDNS, e.target = t.pidfd, t.pidns, t.pid
	}
	if err == nil && (q.User != nil || q.TargetUser) {
		l.User, err = user.open(q, e.target)
	}
	if err != nil {
		return got, err
	}
	if err := s.clone(e, l); err != nil {
		return got, err
	}
	stdio.close()
	if got.pidfd, err = dup(int(e.proc.Pidfd.Fd())); err != nil {
		return got, err
	}
	got.pid = e.proc.Pid
	if q.Kind != KindHolder {
		got.console, err = e.setUp(q)
	}
	if err != nil {
		unix.Close(got.pidfd)
	}
	return got, err
}

// clone starts the process and registers it; from here on its end is seen.
func (s *server) clone(e *entry, l container.Launch) error {
	n := s.cloning()
	proc, err := container.Start(l)
	if err != nil {
		s.cloned(n, nil, 0)
		return err
	}
	e.mu.Lock()
	e.proc = proc
	e.mu.Unlock()
	s.restoreOOMScore(e.target, proc.Pid) // before its end can be seen: the pid is still its own
	s.cloned(n, e, proc.Pid)
	x := &exitSource{e: e, pid: proc.Pid}
	if err := s.loop.add(int(proc.Pidfd.Fd()), unix.EPOLLIN, x, &x.reg); err != nil {
		s.reapAll() // SIGCHLD will have to do
		warn("watch " + e.id + ": " + err.Error())
	}
	return nil
}

// restoreOOMScore gives a child what it would have inherited had the monitor not lowered
// its own score; an exec gets its container's. init may set another one later.
func (s *server) restoreOOMScore(target, pid int) {
	if s.oomScore == "" {
		return
	}
	score := []byte(s.oomScore)
	if target > 0 {
		if of, err := os.ReadFile("/proc/" + strconv.Itoa(target) + "/oom_score_adj"); err == nil {
			score = of
		}
	}
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", score, 0); err != nil {
		warn("oom_score_adj of " + strconv.Itoa(pid) + ": " + err.Error())
	}
}

// setUp releases the checkpoint and waits for a container to be ready, for an exec to
// have exec'd.
func (e *entry) setUp(q *LaunchRequest) (console *os.File, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), container.Deadline)
	defer cancel()
	if err := e.proc.Release(); err != nil && !errors.Is(err, unix.EPIPE) {
		return nil, err
	}
	console, err = e.proc.WaitReady(ctx)
	if err != nil {
		return console, err
	}
	if q.Kind == KindContainer {
		if console != nil {
			err = e.openTerminal(console, q)
			console = nil
		}
		return nil, err
	}
	if err := e.proc.StartContext(ctx); err != nil {
		return console, err
	}
	e.mu.Lock()
	e.startedAt = time.Now()
	e.mu.Unlock()
	return console, nil
}

// start opens a container's gate.
func (e *entry) start() (time.Time, error) {
	e.starting.Lock()
	defer e.starting.Unlock()
	proc, err := e.process()
	if err != nil {
		return time.Time{}, fmt.Errorf("start %s, which has exited: %w", e.id, lifecycle.ErrState)
	}
	if e.kind != KindContainer {
		return time.Time{}, fmt.Errorf("start %s, which is not a container: %w", e.id, lifecycle.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), container.Deadline)
	defer cancel()
	switch err := proc.StartContext(ctx); {
	case errors.Is(err, container.ErrNoGate):
		e.mu.Lock()
		at := e.startedAt
		e.mu.Unlock()
		if !at.IsZero() {
			return at, nil // a retry by an agent that missed the answer
		}
		return time.Time{}, fmt.Errorf("start %s, which was started: %w", e.id, lifecycle.ErrState)
	case err != nil:
		return time.Time{}, launchError(err)
	}
	now := time.Now()
	e.mu.Lock()
	e.startedAt = now
	e.mu.Unlock()
	return now, nil
}

// releaseHolder gives the token and waits for what the holder's mode makes of it.
func (e *entry) releaseHolder() error {
	proc, err := e.process()
	if err != nil {
		return fmt.Errorf("release %s, which has exited: %w", e.id, lifecycle.ErrState)
	}
	ctx, cancel := context.WithTimeout(context.Background(), container.Deadline)
	defer cancel()
	switch err := proc.Release(); {
	case errors.Is(err, container.ErrNoGate):
		return fmt.Errorf("release %s, which was released: %w", e.id, lifecycle.ErrState)
	case err != nil && !errors.Is(err, unix.EPIPE):
		return launchError(err)
	}
	if _, err := proc.WaitReady(ctx); err != nil {
		return launchError(err)
	}
	e.mu.Lock()
	e.startedAt = time.Now()
	e.mu.Unlock()
	if e.stays {
		return nil
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		return fmt.Errorf("holder %s does not end: %w", e.id, lifecycle.ErrTimeout)
	}
	if exit := e.describe().Exit; exit == nil || exit.Code != 0 {
		return &LaunchError{Step: "holder", Message: "it ended with an error after it was ready"}
	}
	return nil
}

// mode reads which of its lives init is to lead.
func (q *LaunchRequest) mode() (initconf.Mode, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(q.Config.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	b, err := io.ReadAll(io.NewSectionReader(q.Config, 0, min(st.Size, 16<<20)))
	if err != nil {
		return 0, err
	}
	c, err := initconf.Decode(b)
	if err != nil {
		return 0, fmt.Errorf("configuration of %s: %w: %w", q.ID, err, lifecycle.ErrInvalid)
	}
	return c.Mode, nil
}

func launchError(err error) error {
	var ie *container.InitError
	switch {
	case errors.As(err, &ie):
		le := &LaunchError{Step: ie.Step, Path: ie.Path, Message: ie.Message, Errno: int(ie.Errno)}
		if le.Message == "" && ie.Errno != 0 {
			le.Message = ie.Errno.Error()
		}
		return le
	case hasKind(err):
		return err
	}
	le := &LaunchError{Step: "launch", Message: err.Error()}
	var pe *os.PathError
	if errors.As(err, &pe) {
		le.Step, le.Path, le.Message = pe.Op, pe.Path, pe.Err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		le.Errno = int(errno)
	}
	return le
}

func fdOf(f *os.File) int {
	if f == nil {
		return -1
	}
	return int(f.Fd())
}

func dup(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	return n, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
}

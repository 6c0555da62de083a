package monitor

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// childEnds are the ends of a container's pipes that it gets; nil = /dev/null.
type childEnds [3]*os.File

func (c *childEnds) close() {
	for i, f := range c {
		if f != nil {
			f.Close()
			c[i] = nil
		}
	}
}

// openStreams opens the log and, without a terminal, makes the container's pipes. What
// is half-made when it fails is the entry's, and goes with it.
func (e *entry) openStreams(q *LaunchRequest) (child childEnds, err error) {
	if q.LogPath != "" {
		if e.log, err = openLog(q.LogPath); err != nil {
			return child, err
		}
	}
	if q.Terminal {
		return child, nil
	}
	for _, stream := range []byte{StreamStdout, StreamStderr} {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return child, os.NewSyscallError("pipe2", err)
		}
		child[stream] = os.NewFile(uintptr(p[1]), "pipe")
		if err := e.addOutput(&output{e: e, stream: stream, fd: p[0]}); err != nil {
			return child, err
		}
	}
	if !q.Stdin {
		return child, nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return child, os.NewSyscallError("pipe2", err)
	}
	child[0] = os.NewFile(uintptr(p[0]), "pipe")
	return child, e.addInput(&input{e: e, fd: p[1], once: q.StdinOnce})
}

// openTerminal takes over the master of the container's terminal. It comes before the
// container runs and before anybody can attach.
func (e *entry) openTerminal(master *os.File, q *LaunchRequest) error {
	defer master.Close()
	fd, err := dup(int(master.Fd()))
	if err != nil {
		return err
	}
	if err := e.addOutput(&output{e: e, stream: StreamStdout, tty: true, fd: fd}); err != nil {
		return err
	}
	if !q.Stdin {
		return nil
	}
	if fd, err = dup(int(master.Fd())); err != nil {
		return err
	}
	return e.addInput(&input{e: e, fd: fd})
}

// addOutput owns o.fd from the call on.
func (e *entry) addOutput(o *output) error {
	err := os.NewSyscallError("fcntl", unix.SetNonblock(o.fd, true))
	if err == nil {
		err = e.s.loop.add(o.fd, unix.EPOLLIN, o, &o.reg)
	}
	if err != nil {
		unix.Close(o.fd)
		return err
	}
	e.mu.Lock()
	e.open++
	e.mu.Unlock()
	e.outputs = append(e.outputs, o)
	return nil
}

func (e *entry) addInput(i *input) error {
	err := os.NewSyscallError("fcntl", unix.SetNonblock(i.fd, true))
	if err == nil {
		err = e.s.loop.add(i.fd, 0, i, &i.reg)
	}
	if err != nil {
		unix.Close(i.fd)
		return err
	}
	e.stdin = i
	return nil
}

// target is what an exec joins.
type target struct{ pid, pidfd, pidns int }

func (t *target) close() {
	for _, fd := range []int{t.pidfd, t.pidns} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// target opens the container that q joins: its pidfd and its PID namespace, the latter
// by path while the pidfd says that the pid is still that process.
func (s *server) target(q *LaunchRequest) (t target, err error) {
	t = target{0, -1, -1}
	e, err := s.lookup(q.Target)
	if err != nil {
		return t, err
	}
	e.mu.Lock()
	running := e.proc != nil && !e.startedAt.IsZero() && !e.told && !e.reaped.Load()
	if running {
		t.pid = e.proc.Pid
		t.pidfd, err = dup(int(e.proc.Pidfd.Fd()))
	}
	e.mu.Unlock()
	switch {
	case !running:
		return t, fmt.Errorf("container %s does not run: %w", q.Target, lifecycle.ErrState)
	case err != nil:
		return t, err
	case q.PIDNS != nil:
		t.pidns, err = dup(int(q.PIDNS.Fd()))
		return t, err
	}
	path := "/proc/" + strconv.Itoa(t.pid) + "/ns/pid"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		t.pidns = fd
	}
	if alive := unix.PidfdSendSignal(t.pidfd, 0, nil, 0); alive != nil {
		return t, fmt.Errorf("container %s does not run: %w", q.Target, lifecycle.ErrState)
	}
	if err != nil {
		return t, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if s.ownPIDNS(fd) {
		unix.Close(fd)
		t.pidns = -1 // no throw-away thread is needed
	}
	return t, nil
}

func (s *server) ownPIDNS(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino == s.pidns.Ino && st.Dev == s.pidns.Dev
}

package monitor

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/container"
)

// entry is one process of the monitor, from its launch until it is forgotten.
type entry struct {
	s       *server
	id      string
	kind    Kind
	target  int  // KindExec: the pid of its container
	stays   bool // a holder that becomes its pod's PID 1
	oomFile string
	oomBase uint64

	// Set before the process is cloned, and never changed.
	outputs  []*output
	stdin    *input
	attached attachments
	log      *logFile // nil: no log

	settled chan struct{} // the launch has succeeded or failed
	done    chan struct{} // exited, recorded; for a failed launch: reaped
	reaped  atomic.Bool   // changes under server.mu
	exited  atomic.Bool   // its process has ended: a terminal's EIO is its end

	starting sync.Mutex // held while a start is under way: the exit's record has its time

	mu        sync.Mutex
	proc      *container.Process
	failed    bool // the launch
	startedAt time.Time
	exit      *Exit
	holds     int // answers that have to go out before the exit is told
	told      bool
	open      int // outputs that have not ended
}

func newEntry(s *server, q *LaunchRequest) *entry {
	e := &entry{
		s: s, id: q.ID, kind: q.Kind, oomFile: q.OOMFile,
		settled: make(chan struct{}), done: make(chan struct{}), holds: 1,
	}
	e.attached.e = e
	e.oomBase, _ = oomKills(q.OOMFile)
	return e
}

func (e *entry) hasExited() bool { return e.exited.Load() }

// hold keeps the exit from being told until release: the answer to a request comes
// before the news of what followed it.
func (e *entry) hold() {
	e.mu.Lock()
	e.holds++
	e.mu.Unlock()
}

func (e *entry) release() {
	e.mu.Lock()
	e.holds--
	e.tellLocked()
	e.mu.Unlock()
}

func (e *entry) tellLocked() {
	if e.exit == nil || e.holds > 0 || e.told || e.failed {
		return
	}
	e.told = true
	e.proc.Close()
	e.s.tell(e.exit)
}

// process gives the launched process while it is not reaped; lifecycle.ErrNotFound else.
func (e *entry) process() (*container.Process, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.proc == nil || e.reaped.Load() || e.told {
		return nil, fmt.Errorf("process %s: %w", e.id, lifecycle.ErrNotFound)
	}
	return e.proc, nil
}

// signal is sent through the pidfd, which never means another process.
func (e *entry) signal(sig syscall.Signal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := error(unix.ESRCH)
	if e.proc != nil && !e.told {
		err = unix.PidfdSendSignal(int(e.proc.Pidfd.Fd()), sig, nil, 0)
	}
	switch err {
	case nil:
		return nil
	case unix.ESRCH:
		return fmt.Errorf("process %s: %w", e.id, lifecycle.ErrNotFound)
	case unix.EINVAL:
		return fmt.Errorf("signal %d: %w", sig, lifecycle.ErrInvalid)
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

func (e *entry) describe() Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := Process{ID: e.id, Kind: e.kind, State: StateWaiting, StartedAt: e.startedAt, Exit: e.exit}
	if e.proc != nil {
		p.Pid = e.proc.Pid
	}
	switch {
	case e.exit != nil:
		p.State = StateExited
	case !e.startedAt.IsZero():
		p.State = StateRunning
	}
	return p
}

// outputEnded closes the log after the last stream.
func (e *entry) outputEnded() {
	e.mu.Lock()
	e.open--
	last := e.open == 0
	e.mu.Unlock()
	if last && e.log != nil {
		e.log.close()
	}
}

// resize sets the terminal's size; the foreground processes get SIGWINCH.
func (e *entry) resize(rows, cols uint16) error {
	if len(e.outputs) == 0 || !e.outputs[0].tty {
		return fmt.Errorf("container %s has no terminal: %w", e.id, lifecycle.ErrState)
	}
	o := e.outputs[0]
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return fmt.Errorf("container %s: %w", e.id, lifecycle.ErrNotFound)
	}
	err := unix.IoctlSetWinsize(o.fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	return os.NewSyscallError("ioctl(TIOCSWINSZ)", err)
}

// abandon closes every stream that is still open.
func (e *entry) abandon() {
	w := e.s.loop.borrow()
	for _, o := range e.outputs {
		o.abandon(w)
	}
	e.s.loop.give(w)
	e.stdin.close()
	e.attached.close()
	if e.log != nil {
		e.log.close()
	}
}

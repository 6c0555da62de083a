package runtime

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
)

// process is one of the monitor's, as this agent knows it.
type process struct {
	id     string
	kind   monitor.Kind
	reaper bool
	none   bool   // a holder of nothing: no process was made
	cgroup cgroup // where it lives, nil if not known
	done   chan Exit

	mu     sync.Mutex
	pid    int
	pidfd  *os.File
	ended  bool
	exited chan struct{} // closed when its exit was told; made by add
}

// table holds the processes by id.
type table struct {
	mu   sync.Mutex
	byID map[string]*process
}

// add enters p; lifecycle.ErrExists where its id is taken, with the process that has it.
func (t *table) add(p *process) (*process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byID[p.id]; old != nil {
		p.close()
		return old, fmt.Errorf("process %s: %w", p.id, lifecycle.ErrExists)
	}
	if t.byID == nil {
		t.byID = map[string]*process{}
	}
	p.exited = make(chan struct{})
	t.byID[p.id] = p
	return p, nil
}

func (t *table) get(id string) *process {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

func (t *table) drop(id string) {
	t.mu.Lock()
	p := t.byID[id]
	delete(t.byID, id)
	t.mu.Unlock()
	if p != nil {
		p.close()
	}
}

func (t *table) all() []*process {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*process, 0, len(t.byID))
	for _, p := range t.byID {
		out = append(out, p)
	}
	return out
}

// started enters what Launch answered.
func (p *process) started(reply *monitor.LaunchReply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = reply.Pid
	if p.ended && reply.Pidfd != nil {
		reply.Pidfd.Close() // its exit came first
		return
	}
	p.pidfd = reply.Pidfd
}

// launched reports that Launch has answered and that no exit was told yet.
func (p *process) launched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid != 0 && !p.ended
}

func (p *process) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// end notes the exit; false if it was noted before.
func (p *process) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	p.ended = true
	close(p.exited)
	if p.pidfd != nil {
		p.pidfd.Close()
		p.pidfd = nil
	}
	return true
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd != nil {
		p.pidfd.Close()
		p.pidfd = nil
	}
}

// signal sends SIGKILL without the monitor. The pidfd keeps it from hitting another
// process that has got the pid meanwhile.
func (p *process) signal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd != nil {
		_ = unix.PidfdSendSignal(int(p.pidfd.Fd()), unix.SIGKILL, nil, 0) // ESRCH: it has ended
	}
}

// wait waits for a signalled process's end.
func (p *process) wait(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd == nil {
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(settle)
	}
	poll := []unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, int(max(time.Until(deadline).Milliseconds(), 0)))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("process %d does not end: %w", p.pid, lifecycle.ErrTimeout)
		default:
			return nil
		}
	}
}

// openPidfd is nil where the process is gone.
func openPidfd(pid int) *os.File {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd")
}

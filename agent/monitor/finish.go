package monitor

import (
	"time"

	"golang.org/x/sys/unix"
)

// drainLimit bounds how long a hanging log disk may keep an exit from being told.
const drainLimit = 10 * time.Second

// exitSource is a pidfd in the loop: it is ready when the process has ended.
type exitSource struct {
	e   *entry
	pid int
	reg registration
}

func (x *exitSource) ready(uint32, *worker) {
	x.e.s.loop.remove(x.reg)
	x.e.s.reap(x.e, x.pid)
}

// finish follows a process's end: what it wrote is relayed, then its exit is recorded,
// then told. A launch that failed is told by its answer alone.
func (e *entry) finish(status unix.WaitStatus, at time.Time) {
	<-e.settled
	e.starting.Lock()
	e.mu.Lock()
	failed, startedAt := e.failed, e.startedAt
	e.mu.Unlock()
	e.starting.Unlock()
	if failed {
		close(e.done)
		return
	}
	e.drain()
	exit := &Exit{ID: e.id, StartedAt: startedAt, FinishedAt: at, OOMKilled: e.oomKilled()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
	} else {
		exit.Code = status.ExitStatus()
	}
	if err := writeRecord(e.s.exitDir, exit); err != nil {
		warn("exit record of " + e.id + ": " + err.Error())
	}
	e.mu.Lock()
	e.exit = exit
	close(e.done)
	e.tellLocked()
	e.mu.Unlock()
}

// oomKilled follows containerd and CRI-O: any kill by the kernel's OOM killer in the
// container's cgroup during its life counts, whichever of its processes was hit. A
// worker that was killed is often why the main process gives up with a code of its own.
func (e *entry) oomKilled() bool {
	n, ok := oomKills(e.oomFile)
	return ok && n > e.oomBase
}

// drain relays what the process left in its pipes and ends the attachments.
func (e *entry) drain() {
	e.stdin.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := e.s.loop.borrow()
		for _, o := range e.outputs {
			o.drain(w)
		}
		e.s.loop.give(w)
	}()
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		warn("log of " + e.id + " hangs; its exit is told all the same")
	}
	e.attached.close()
}

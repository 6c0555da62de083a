package monitor

import (
	"sync"

	"golang.org/x/sys/unix"
)

// input is the writing end of a container's stdin. It goes through the monitor, so that
// StdinOnce can close it when the first attachment ends, whatever became of the agent. A
// nil input takes nothing.
type input struct {
	e    *entry
	fd   int
	reg  registration
	once bool // StdinOnce, and no terminal: a terminal's end is its hang-up

	mu      sync.Mutex
	pending []byte // at most one packet of each attachment
	ending  bool   // close when pending is written
	closed  bool
}

// write takes p whole; true means that the container does not read: ask no more until
// attachments.resumeInputs.
func (i *input) write(p []byte) (full bool) {
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.ending {
		return false
	}
	if len(i.pending) == 0 {
		p = p[i.tryWrite(p):]
	}
	if i.closed || len(p) == 0 {
		return false
	}
	if len(i.pending) == 0 {
		i.e.s.loop.arm(i.reg, unix.EPOLLOUT)
	}
	i.pending = append(i.pending, p...)
	return true
}

func (i *input) full() bool {
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.pending) > 0
}

// tryWrite writes as much as goes; a reader that has gone closes the stream.
func (i *input) tryWrite(p []byte) (n int) {
	for n < len(p) {
		m, err := unix.Write(i.fd, p[n:])
		switch err {
		case nil:
			n += m
		case unix.EINTR:
		case unix.EAGAIN:
			return n
		default:
			i.closeLocked()
			return len(p)
		}
	}
	return n
}

func (i *input) ready(uint32, *worker) {
	i.mu.Lock()
	if !i.closed {
		i.pending = i.pending[i.tryWrite(i.pending):]
		if len(i.pending) == 0 {
			i.pending = nil
		}
	}
	more := !i.closed && len(i.pending) > 0
	if more {
		i.e.s.loop.arm(i.reg, unix.EPOLLOUT)
	} else if i.ending {
		i.closeLocked()
	}
	i.mu.Unlock()
	if !more {
		i.e.attached.resumeInputs()
	}
}

// end is told when an attachment with stdin ends.
func (i *input) end() {
	if i == nil || !i.once {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ending = true
	if len(i.pending) == 0 {
		i.closeLocked()
	}
}

func (i *input) close() {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.closeLocked()
	i.mu.Unlock()
	i.e.attached.resumeInputs()
}

func (i *input) closeLocked() {
	if i.closed {
		return
	}
	i.closed = true
	i.pending = nil
	if i.reg.key != 0 {
		i.e.s.loop.remove(i.reg)
	}
	unix.Close(i.fd)
}

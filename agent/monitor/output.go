package monitor

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readsPerTurn bounds one stream's turn while others wait.
	readsPerTurn = 16
	// keepPending is the capacity that a stream keeps for its next partial line.
	keepPending = 512
	// ttyRetry is how often a terminal that nobody has open is looked at: it may be
	// opened again, and the kernel has no event for that.
	ttyRetry = 100 * time.Millisecond
)

// output is the reading end of a container's stdout, stderr or terminal.
type output struct {
	e      *entry
	stream byte
	tty    bool
	fd     int
	reg    registration

	mu      sync.Mutex // one turn at a time
	pending []byte     // a line without its newline yet, at most maxLine bytes
	ended   bool
	held    bool // not armed: an attachment is behind
}

func (o *output) ready(_ uint32, w *worker) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	_, why := o.turn(w, readsPerTurn*readSize)
	switch {
	case o.ended, o.held:
	case why == turnUnopened:
		time.AfterFunc(ttyRetry, o.rearm)
	default:
		o.e.s.loop.arm(o.reg, unix.EPOLLIN)
	}
}

// turnEnd is why a turn ended.
type turnEnd int

const (
	turnMore     turnEnd = iota // there may be more
	turnEmpty                   // nothing to read now
	turnUnopened                // nobody has the terminal open
	turnOver                    // the stream has ended
)

// turn relays about limit bytes, until an attachment is behind. Called with mu held.
func (o *output) turn(w *worker, limit int) (got int, why turnEnd) {
	in, _ := w.buffers()
	n := copy(in, o.pending)
	for got < limit && !o.held {
		m, err := unix.Read(o.fd, in[n:n+readSize])
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			why = turnEmpty
			break
		}
		if err == unix.EIO && o.tty && !o.e.hasExited() {
			why = turnUnopened
			break
		}
		if err != nil || m == 0 {
			o.end(w, in[:n])
			return got, turnOver
		}
		got += m
		o.held = o.e.attached.broadcast(o.stream, in[n:n+m])
		n = o.relay(w, in[:n+m])
		if m < readSize/16 {
			break // emptied, most likely; the loop asks again
		}
	}
	o.keep(in[:n])
	return got, why
}

// relay logs the complete lines of in and moves what is left to its beginning.
func (o *output) relay(w *worker, in []byte) (left int) {
	log := o.e.log
	if log == nil {
		return 0
	}
	w.head.set(time.Now(), o.stream)
	off := 0
	for {
		records, n := w.head.format(w.out[:0], in[off:], w.maxLine)
		if n == 0 {
			break
		}
		log.write(records)
		off += n
	}
	return copy(in, in[off:])
}

func (o *output) keep(tail []byte) {
	if len(tail) == 0 && cap(o.pending) > keepPending {
		o.pending = nil
		return
	}
	o.pending = append(o.pending[:0], tail...)
}

// end logs an unfinished line and closes the stream. Called with mu held.
func (o *output) end(w *worker, tail []byte) {
	if len(tail) > 0 && o.e.log != nil {
		w.head.set(time.Now(), o.stream)
		o.e.log.write(w.head.last(w.out[:0], tail))
	}
	o.pending = nil
	o.ended = true
	o.e.s.loop.remove(o.reg)
	unix.Close(o.fd)
	o.e.outputEnded()
}

func (o *output) rearm() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.e.s.loop.arm(o.reg, unix.EPOLLIN)
	}
}

// resume goes on after a hold.
func (o *output) resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held && !o.ended {
		o.held = false
		o.e.s.loop.arm(o.reg, unix.EPOLLIN)
	}
}

// drain relays what the stream held when the process ended: a pipe says how much that
// is, a terminal is read until it is empty. What others who have it open write later
// goes the usual way.
func (o *output) drain(w *worker) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	left, err := unix.IoctlGetInt(o.fd, unix.TIOCINQ)
	if o.tty || err != nil {
		left = 1 << 20
	}
	was, behind := o.held, false
	for left >= 0 {
		o.held = false // attachments queue this bounded rest whether they are behind or not
		got, why := o.turn(w, readSize)
		behind = behind || o.held
		if why == turnEmpty || why == turnOver {
			break
		}
		left -= got
	}
	o.held = was || behind
}

// abandon ends a stream that others still have open.
func (o *output) abandon(w *worker) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		in, _ := w.buffers()
		o.end(w, in[:copy(in, o.pending)])
	}
}

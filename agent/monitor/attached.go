package monitor

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// attachments are those of one container. Output goes to each as it is read; one that is
// behind has at most what was read in one turn of each stream queued, and the streams
// wait for it.
type attachments struct {
	e     *entry
	count atomic.Int32 // of list, so that a turn without attachments takes no lock

	mu     sync.Mutex
	list   []*attached
	closed bool
}

// attached is the monitor's end of one attachment, all of it under attachments.mu.
type attached struct {
	set   *attachments
	fd    int
	reg   registration
	stdin bool // not ended yet

	queue   [][]byte // packets
	timer   *time.Timer
	paused  bool // stdin is full
	dead    bool // it reads no more
	closing bool // goes when its queue is empty
	gone    bool
}

// open makes an attachment and returns the client's end.
func (s *attachments) open(stdin bool) (clientFD int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	a := &attached{set: s, fd: p[0], stdin: stdin}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = os.ErrClosed; !s.closed {
		if err = unix.SetNonblock(p[0], true); err == nil {
			err = s.e.s.loop.add(a.fd, unix.EPOLLIN, a, &a.reg)
		}
	}
	if err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return -1, err
	}
	s.list = append(s.list, a)
	s.count.Add(1)
	return p[1], nil
}

// broadcast sends a read's data to all; true if one of them is behind.
func (s *attachments) broadcast(stream byte, data []byte) (behind bool) {
	if s.count.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.list {
		for rest := data; len(rest) > 0 && !a.dead; {
			n := min(len(rest), attachChunk)
			a.put(stream, rest[:n])
			rest = rest[n:]
		}
		behind = behind || len(a.queue) > 0
	}
	return behind
}

func (a *attached) put(stream byte, data []byte) {
	if len(a.queue) == 0 {
		err := a.send([]byte{stream}, data)
		if err != unix.EAGAIN && err != unix.ENOBUFS {
			a.dead = err != nil
			return
		}
		a.timer = time.AfterFunc(a.set.e.s.holdLimit, a.tooSlow)
		defer a.arm()
	}
	a.queue = append(a.queue, append([]byte{stream}, data...))
}

func (a *attached) send(parts ...[]byte) error {
	for {
		_, err := unix.SendmsgBuffers(a.fd, parts, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// arm asks for what a waits for. Called with mu held.
func (a *attached) arm() {
	if a.gone {
		return
	}
	var events uint32
	if !a.paused {
		events = unix.EPOLLIN
	}
	if len(a.queue) > 0 {
		events |= unix.EPOLLOUT
	}
	if events != 0 {
		a.set.e.s.loop.arm(a.reg, events)
	}
}

func (a *attached) ready(events uint32, w *worker) {
	s := a.set
	s.mu.Lock()
	if a.gone {
		s.mu.Unlock()
		return
	}
	behind := len(a.queue) > 0
	a.flush()
	if !a.gone && !a.paused && events&^unix.EPOLLOUT != 0 && !a.read(w) {
		a.set.removeLocked(a)
	}
	if a.paused && !s.e.stdin.full() { // it was emptied before paused was set
		a.paused = false
	}
	a.arm()
	resume := behind && len(a.queue) == 0
	s.mu.Unlock()
	if resume {
		s.resumeOutputs()
	}
}

// flush sends what is queued, as far as it goes. Called with mu held.
func (a *attached) flush() {
	sent := 0
	for sent < len(a.queue) && !a.dead {
		err := a.send(a.queue[sent])
		if err == unix.EAGAIN || err == unix.ENOBUFS {
			break
		}
		a.dead = err != nil
		sent++
	}
	if a.queue = a.queue[sent:]; a.dead || len(a.queue) == 0 {
		a.queue = nil
	}
	switch {
	case a.timer == nil:
	case a.queue == nil:
		a.timer.Stop()
		a.timer = nil
	case sent > 0:
		a.timer.Reset(a.set.e.s.holdLimit)
	}
	if a.closing && a.queue == nil {
		a.set.removeLocked(a)
	}
}

// read takes the packets of the client until stdin is full; false at the end. Called with
// mu held, as all use of fd is.
func (a *attached) read(w *worker) bool {
	buf, _ := w.buffers()
	for {
		n, _, err := unix.Recvfrom(a.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR, err == errUnread:
			continue
		case err == unix.EAGAIN:
			return true
		case err != nil || n == 0:
			return false
		case buf[0] != StreamStdin || !a.stdin:
			continue
		case n == 1:
			a.endStdin()
			continue
		}
		if a.set.e.stdin.write(buf[1:n]) {
			a.paused = true
			return true
		}
	}
}

func (a *attached) endStdin() {
	if a.stdin {
		a.stdin = false
		a.set.e.stdin.end()
	}
}

func (a *attached) tooSlow() {
	a.set.mu.Lock()
	gone := a.gone
	a.set.removeLocked(a)
	a.set.mu.Unlock()
	if !gone {
		warn("attachment of " + a.set.e.id + " takes no output: cut off")
		a.set.resumeOutputs()
	}
}

// removeLocked removes a at once. Stdin ends, if a was the first to have it.
func (s *attachments) removeLocked(a *attached) {
	if a.gone {
		return
	}
	a.gone = true
	a.queue = nil
	a.endStdin()
	if a.timer != nil {
		a.timer.Stop()
	}
	for i, b := range s.list {
		if a == b {
			s.list = append(s.list[:i:i], s.list[i+1:]...)
			break
		}
	}
	s.count.Add(-1)
	s.e.s.loop.remove(a.reg)
	unix.Close(a.fd)
}

// resumeOutputs lets the streams go on, unless somebody else is behind.
func (s *attachments) resumeOutputs() {
	s.mu.Lock()
	for _, a := range s.list {
		if len(a.queue) > 0 {
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	for _, o := range s.e.outputs {
		o.resume()
	}
}

// resumeInputs lets those go on that waited for room in stdin.
func (s *attachments) resumeInputs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.list {
		if a.paused {
			a.paused = false
			a.arm()
		}
	}
}

// close ends all attachments once they have taken what is queued for them, and takes no more.
func (s *attachments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, a := range append([]*attached(nil), s.list...) {
		a.closing = true
		a.flush()
	}
}

package monitor

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxWorkers bounds how many sources are served at once. A worker blocks only where a
// log's disk hangs; the other containers then have the rest.
const maxWorkers = 16

// readSize is what is read of a stream at once: a pipe's default capacity.
const readSize = 64 << 10

// source is a descriptor in the loop. It is armed for one event at a time: ready is
// called by one worker, and no more until it is armed again.
type source interface {
	ready(events uint32, w *worker)
}

// loop waits for all descriptors of all processes with one epoll set, which itself sits on
// the runtime's poller, so that an idle monitor has no thread, goroutine or buffer per
// container.
type loop struct {
	f  *os.File
	rc syscall.RawConn
	ep int

	maxLine int

	mu      sync.Mutex
	last    uint64
	sources map[uint64]source
	queue   []job
	running int
	spare   []*worker
}

type job struct {
	key    uint64
	events uint32
}

// registration is a source's place in the loop. Keys are never used twice, so that an
// event for a descriptor that was closed meanwhile meets nobody.
type registration struct {
	key uint64
	fd  int
}

// worker has the buffers of the goroutine that serves a source.
type worker struct {
	maxLine int
	in      []byte // a partial line and one read
	out     []byte // the records of it
	head    header
}

// buffers allocates on first use: most events (exits) need none.
func (w *worker) buffers() (in, out []byte) {
	if w.in == nil {
		w.in = make([]byte, w.maxLine+readSize)
		w.out = make([]byte, 0, max(2*readSize, headerLen+w.maxLine+1))
	}
	return w.in, w.out
}

func newLoop(maxLine int) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(ep), "epoll")
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &loop{f: f, rc: rc, ep: ep, maxLine: maxLine, sources: map[uint64]source{}}, nil
}

// add registers fd and arms it for events. reg is set before ready can be called.
func (l *loop) add(fd int, events uint32, s source, reg *registration) error {
	l.mu.Lock()
	l.last++
	*reg = registration{key: l.last, fd: fd}
	l.sources[reg.key] = s
	l.mu.Unlock()
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, reg.event(events)); err != nil {
		l.forget(*reg)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (r registration) event(events uint32) *unix.EpollEvent {
	return &unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(uint32(r.key)), Pad: int32(uint32(r.key >> 32))}
}

// arm asks for one call of ready for the events, or for a hang-up or error.
func (l *loop) arm(r registration, events uint32) {
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, r.fd, r.event(events)) // fails only for what is not there
}

// remove must come before the descriptor is closed: a duplicate of it elsewhere (a pty
// handed over) would keep it in the set.
func (l *loop) remove(r registration) {
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, r.fd, nil)
	l.forget(r)
}

func (l *loop) forget(r registration) {
	l.mu.Lock()
	delete(l.sources, r.key)
	l.mu.Unlock()
}

// run dispatches until the loop is closed.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 64)
	for {
		var n int
		var werr error
		err := l.rc.Read(func(fd uintptr) bool {
			for {
				n, werr = unix.EpollWait(int(fd), events, 0)
				if werr != unix.EINTR {
					return n != 0
				}
			}
		})
		if err != nil {
			return err
		}
		if werr != nil {
			return os.NewSyscallError("epoll_wait", werr)
		}
		l.mu.Lock()
		for _, ev := range events[:n] {
			key := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			l.queue = append(l.queue, job{key, ev.Events})
			if l.running < maxWorkers { // those that run may be stuck
				l.running++
				go l.work()
			}
		}
		l.mu.Unlock()
	}
}

// work serves queued jobs and ends when there are none.
func (l *loop) work() {
	l.mu.Lock()
	w := l.borrowLocked()
	for len(l.queue) > 0 {
		j := l.queue[0]
		l.queue = l.queue[1:]
		s := l.sources[j.key]
		l.mu.Unlock()
		if s != nil {
			s.ready(j.events, w)
		}
		l.mu.Lock()
	}
	l.queue = nil
	l.running--
	l.giveLocked(w)
	l.mu.Unlock()
}

// borrow lends a worker to a goroutine outside of the loop until give.
func (l *loop) borrow() *worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.borrowLocked()
}

func (l *loop) give(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.giveLocked(w)
}

func (l *loop) borrowLocked() *worker {
	if n := len(l.spare); n > 0 {
		w := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return w
	}
	return &worker{maxLine: l.maxLine}
}

func (l *loop) giveLocked(w *worker) {
	if len(l.spare) < 2 {
		l.spare = append(l.spare, w)
	}
}

func (l *loop) close() { l.f.Close() }

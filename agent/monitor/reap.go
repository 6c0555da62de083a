package monitor

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reaper is the part of the server that waits for children. Own ones are found by their
// pidfd or by SIGCHLD, whichever comes first. As a subreaper the monitor also gets the
// orphans of its containers; a child that is unknown is an orphan only if every launch
// that was under way when it was seen has ended without claiming it. All under server.mu.
type reaper struct {
	byPid    map[int]*entry
	launches map[uint64]struct{} // clone begun, pid not known yet
	last     uint64              // the newest launch
	seenPid  int                 // the unknown child at the head of the kernel's list
	seenAt   uint64              // the newest launch when it was seen
}

// cloning is called before a clone, cloned after it (e is nil if it failed).
func (s *server) cloning() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reaper.last++
	s.reaper.launches[s.reaper.last] = struct{}{}
	return s.reaper.last
}

func (s *server) cloned(n uint64, e *entry, pid int) {
	s.mu.Lock()
	if e != nil {
		s.reaper.byPid[pid] = e
	}
	delete(s.reaper.launches, n)
	waiting := s.reaper.seenPid != 0
	s.mu.Unlock()
	if waiting {
		s.reapAll()
	}
}

// reap waits for e if it has ended.
func (s *server) reap(e *entry, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reapLocked(e, pid)
}

func (s *server) reapLocked(e *entry, pid int) {
	if e.reaped.Load() {
		return
	}
	var status unix.WaitStatus
	got, err := wait(pid, &status)
	if got == 0 && err == nil {
		return
	}
	if err != nil { // somebody else has waited for it: the code is lost, the end is not
		warn("wait for " + e.id + ": " + err.Error())
		status = unix.WaitStatus(255 << 8)
	}
	if s.reaper.byPid[pid] == e {
		delete(s.reaper.byPid, pid)
	}
	e.exited.Store(true)
	e.reaped.Store(true)
	go e.finish(status, time.Now())
}

func wait(pid int, status *unix.WaitStatus) (int, error) {
	for {
		got, err := unix.Wait4(pid, status, unix.WNOHANG, nil)
		if err != unix.EINTR {
			return got, err
		}
	}
}

// reapAll waits for every child that has ended.
func (s *server) reapAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.reaper
	for {
		pid := endedChild()
		if pid == 0 {
			r.seenPid = 0
			return
		}
		if e := r.byPid[pid]; e != nil {
			if e.reaped.Load() {
				delete(r.byPid, pid)
				continue
			}
			s.reapLocked(e, pid)
			continue
		}
		if r.seenPid != pid {
			r.seenPid, r.seenAt = pid, r.last
		}
		for n := range r.launches {
			if n <= r.seenAt {
				return // it may be that launch's; cloned comes back here
			}
		}
		var status unix.WaitStatus
		_, _ = wait(pid, &status)
		r.seenPid = 0
	}
}

// endedChild is the pid of a child that can be waited for, which stays so; 0 if none.
func endedChild() int {
	// The kernel's struct siginfo of SIGCHLD: three ints, padding, pid.
	var info struct {
		unix.Siginfo
	}
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info.Siginfo, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16)))
	}
}

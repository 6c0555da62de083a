package streaming

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often hijacked connections are looked at, and how long a client that
// has hung up may leave bytes behind for a slow process to read.
const watchEvery = 5 * time.Second

// watch finds the clients that trackedConn.Read cannot: while a process does not read its
// stdin nobody reads the connection, and its end is behind bytes that nobody takes. The
// kernel knows (POLLRDHUP, poll(2)); a connection seen hung up twice is closed. One
// goroutine does it for all, until done is closed.
func (s *conns) watch(every time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	suspects := map[*trackedConn]bool{}
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			suspects = s.closeHungUp(suspects)
		}
	}
}

// closeHungUp closes the suspects that are still hung up and returns the new ones.
func (s *conns) closeHungUp(suspects map[*trackedConn]bool) map[*trackedConn]bool {
	s.mu.Lock()
	var hung []*trackedConn
	for c := range s.open {
		if c.hijacked.Load() && hungUp(c.Conn) {
			hung = append(hung, c)
		}
	}
	s.mu.Unlock()
	found := map[*trackedConn]bool{}
	for _, c := range hung {
		if suspects[c] {
			_ = c.Close()
		} else {
			found[c] = true
		}
	}
	return found
}

func hungUp(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0) // EINTR is a no until the next tick
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err == nil && gone
}

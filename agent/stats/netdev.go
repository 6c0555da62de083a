package stats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/pods"
)

// readCounters reads the links' counters of several network namespaces on one thread that
// enters each of them in turn and is thrown away: no socket stays behind in a pod's
// namespace, which it would keep alive. A namespace that is gone has no entry.
func readCounters(ctx context.Context, pins []string) (map[string][]Interface, error) {
	if len(pins) == 0 {
		return nil, nil
	}
	var links map[string][]Interface
	var err error
	throwAway(func() { links, err = enterEach(ctx, pins) })
	return links, err
}

// throwAway runs f on a thread that ends with it. The process's first thread does not
// end: it would stay in the last namespace, keep it alive, and show in /proc/self.
func throwAway(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			throwAway(f) // on another, since this one is taken until it returns
			runtime.UnlockOSThread()
			close(done)
			return
		}
		f()
		close(done)
		// Never unlocked: the Go runtime ends the thread with the goroutine.
	}()
	<-done
}

func enterEach(ctx context.Context, pins []string) (map[string][]Interface, error) {
	links := make(map[string][]Interface, len(pins))
	for _, pin := range pins {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, done := links[pin]; done {
			continue
		}
		ifs, err := countersIn(pin)
		switch {
		case err == nil:
			links[pin] = ifs
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // unpinned; the file without its mount
		default:
			return nil, err
		}
	}
	return links, nil
}

func countersIn(pin string) ([]Interface, error) {
	fd, err := unix.Open(pin, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: pin, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter network namespace %q: %w", pin, err)
	}
	b, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil, err
	}
	return parseNetDev(b), nil
}

// parseNetDev reads /proc/net/dev (proc_pid_net(5)): two lines of heading, then a line a
// link, "name: bytes packets errs drop fifo frame compressed multicast", and the same for
// transmission. The loopback link is left out: what goes over it never leaves the pod.
func parseNetDev(b []byte) []Interface {
	var out []Interface
	for line := range bytes.Lines(b) {
		// Link names may hold a colon (an alias), figures do not.
		i := bytes.LastIndexByte(line, ':')
		if i < 0 {
			continue
		}
		f := bytes.Fields(line[i+1:])
		name := string(bytes.TrimSpace(line[:i]))
		if len(f) < 16 || name == "lo" {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(string(f[i]), 10, 64)
			return v
		}
		out = append(out, Interface{
			Name: name, RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDrops: n(3),
			TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDrops: n(11),
		})
	}
	return out
}

// primaryFirst puts the link that the pod's network made before the others.
func primaryFirst(links []Interface, p *pods.Pod) []Interface {
	name := "eth0"
	if p.Network != nil && p.Network.Iface != "" {
		name = p.Network.Iface
	}
	slices.SortStableFunc(links, func(a, b Interface) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == name:
			return -1
		case b.Name == name:
			return 1
		}
		return 0
	})
	return links
}

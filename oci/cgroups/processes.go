package cgroups

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// countProcesses counts the cgroup's processes, the descriptors that they have open, and how many of
// those are sockets. One that ends meanwhile, or that may not be looked at, counts with what was seen.
func (c *Cgroup) countProcesses(d *Detail) error {
	pids, err := c.Pids()
	if err != nil {
		return err
	}
	d.Processes = uint64(len(pids))
	for _, pid := range pids {
		fds, sockets := descriptors("/proc/" + strconv.Itoa(pid) + "/fd")
		d.Descriptors += fds
		d.Sockets += sockets
	}
	return nil
}

// descriptors counts the entries of a /proc/PID/fd, and those whose link says "socket:[inode]" (proc(5)).
func descriptors(dir string) (all, sockets uint64) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	var link [8]byte
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			all++
			n, e := unix.Readlinkat(int(f.Fd()), name, link[:])
			if e == nil && strings.HasPrefix(string(link[:n]), "socket:") {
				sockets++
			}
		}
		if err != nil {
			return all, sockets // the end, or the process's
		}
	}
}

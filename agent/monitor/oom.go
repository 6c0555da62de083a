package monitor

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oomKills reads how often the kernel has killed in a cgroup: the line "oom_kill N" of
// memory.events (v2) or memory.oom_control (v1, since Linux 4.13). ok is false where
// there is no such file or line.
func oomKills(path string) (n uint64, ok bool) {
	if path == "" {
		return 0, false
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var buf [1024]byte
	m, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, false
	}
	return parseOOMKills(buf[:m])
}

func parseOOMKills(b []byte) (n uint64, ok bool) {
	for line := range bytes.Lines(b) {
		value, found := strings.CutPrefix(string(line), "oom_kill ")
		if !found {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		return n, err == nil
	}
	return 0, false
}

package stats

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Filesystem is what a file system has room for.
type Filesystem struct {
	Device             string // "/dev/sda1", or what was mounted where it has no device
	Bytes              uint64
	Inodes, InodesFree uint64
}

// filesystem describes the one that dir is on.
func filesystem(dir string) (Filesystem, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return Filesystem{}, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Filesystem{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	major, minor := unix.Major(st.Dev), unix.Minor(st.Dev)
	name := DeviceName(major, minor)
	if major == 0 { // overlay, btrfs, tmpfs …: the number is the mount's own
		if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
			if source := mountSource(data, fmt.Sprintf("%d:%d", major, minor)); source != "" {
				name = source
			}
		}
	}
	return Filesystem{
		Device: name, Bytes: fs.Blocks * uint64(fs.Bsize), Inodes: fs.Files, InodesFree: fs.Ffree,
	}, nil
}

// mountSource finds a device number's source in mountinfo (proc(5): field 3 the number, after "-" type and source).
func mountSource(mountinfo []byte, number string) string {
	for line := range bytes.Lines(mountinfo) {
		mount, rest, ok := strings.Cut(string(line), " - ")
		f, s := strings.Fields(mount), strings.Fields(rest)
		if ok && len(f) > 2 && f[2] == number && len(s) > 1 {
			return s[1]
		}
	}
	return ""
}

// DeviceName is a block device's path, "/dev/sda", or "8:0" where the kernel has no such device.
func DeviceName(major, minor uint32) string {
	number := fmt.Sprintf("%d:%d", major, minor)
	link, err := os.Readlink("/sys/dev/block/" + number)
	if err != nil {
		return number
	}
	return "/dev/" + strings.ReplaceAll(filepath.Base(link), "!", "/") // sysfs has ! for a slash
}

// openFiles is a process's soft limit of open files; nil when it is gone.
func openFiles(pid int) *uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return nil
	}
	return parseOpenFiles(data)
}

// parseOpenFiles reads "Max open files  1024  4096  files" (proc_pid_limits(5)).
func parseOpenFiles(limits []byte) *uint64 {
	for line := range bytes.Lines(limits) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if f := bytes.Fields(rest); ok && len(f) > 0 {
			if n, err := strconv.ParseUint(string(f[0]), 10, 64); err == nil {
				return &n
			}
		}
	}
	return nil
}

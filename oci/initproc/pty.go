package initproc

import (
	"errors"
	"io/fs"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errNotDevpts = errors.New("the container has no devpts at /dev/pts")

// openPty makes a pty of the container's own devpts, sends its master to the parent and
// returns the slave. The slave comes from the master by TIOCGPTPEER, not by its name,
// which the container could have replaced (CVE-2025-52565).
func openPty(c *initconf.Config, root int) (slave int, err error) {
	master, err := kernel.Open(root, "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0, kernel.NoSymlinks)
	if err != nil {
		return -1, &fs.PathError{Op: "console", Path: "/dev/pts/ptmx", Err: err}
	}
	defer kernel.Close(master)
	st, err := kernel.Stat(master)
	if err != nil {
		return -1, err
	}
	if magic, err := kernel.Magic(master); err != nil || magic != unix.DEVPTS_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return -1, &fs.PathError{Op: "console", Path: "/dev/pts/ptmx", Err: errNotDevpts}
	}
	unlock := int32(0)
	if err := kernel.Ioctl(master, unix.TIOCSPTLCK, unsafe.Pointer(&unlock)); err != nil {
		return -1, &fs.PathError{Op: "console", Path: "unlock", Err: err}
	}
	fd, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, &fs.PathError{Op: "console", Path: "TIOCGPTPEER", Err: errno}
	}
	slave = int(fd)
	if c.ConsoleHeight != 0 || c.ConsoleWidth != 0 {
		size := unix.Winsize{Row: c.ConsoleHeight, Col: c.ConsoleWidth}
		if err := kernel.Ioctl(slave, unix.TIOCSWINSZ, unsafe.Pointer(&size)); err != nil {
			return -1, &fs.PathError{Op: "console", Path: "window size", Err: err}
		}
	}
	if child.SendConsole(initconf.FDReport, master) != nil {
		return -1, child.ErrAborted // nobody is there to take it
	}
	return slave, nil
}

// useTerminal makes slave the controlling terminal and the standard streams.
func useTerminal(slave int) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(slave), unix.TIOCSCTTY, 0); errno != 0 {
		return &fs.PathError{Op: "console", Path: "TIOCSCTTY", Err: errno}
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return &fs.PathError{Op: "console", Path: "dup", Err: err}
		}
	}
	kernel.Close(slave)
	return nil
}

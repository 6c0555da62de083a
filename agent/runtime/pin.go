package runtime

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// pin binds a namespace file (/proc/PID/ns/…) onto target, which it makes: the namespace
// then lives as long as the mount (namespaces(7)).
func pin(source, target string) error {
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(&os.PathError{Op: "bind " + source + " onto", Path: target, Err: err}, os.Remove(target))
	}
	return nil
}

// unpin takes the mount and the file away; neither need be there.
func unpin(target string) error {
	for {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == unix.EINVAL || err == unix.ENOENT {
			break // not a mount point (any more)
		}
		if err != nil {
			return &os.PathError{Op: "umount", Path: target, Err: err}
		}
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ResizeConsole sets the size of a pty through its master (tty_ioctl(4), TIOCSWINSZ).
func ResizeConsole(console *os.File, rows, cols uint16) error {
	raw, err := console.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, os.NewSyscallError("ioctl(TIOCSWINSZ)", ioctlErr))
}

// Package kernel wraps the system calls that Slipway's two halves of a container need
// and that Go's library does not offer: EINTR is retried, errors are *fs.PathError (which
// is *os.PathError) naming the call and, where there is one, the path. It decides nothing
// and keeps no state. It is linked into slipway-init and imports neither os, fmt nor
// reflect; what the machine's kernel can do is asked by package probe.
package kernel

import (
	"io/fs"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Resolve flags of the lookups that cross into a container's root: absolute links and
// ".." stay inside, and no link of procfs is followed (openat2(2), Linux 5.6).
const (
	InRoot     = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	NoSymlinks = InRoot | unix.RESOLVE_NO_SYMLINKS
)

func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func retryFD(f func() (int, error)) (int, error) {
	for {
		if fd, err := f(); err != unix.EINTR {
			return fd, err
		}
	}
}

// Open opens path with resolve restrictions, close-on-exec. openat2 answers EAGAIN when
// a rename anywhere on the machine made a scoped lookup of ".." undecidable: that is retried.
func Open(dir int, path string, flags int, mode uint32, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: resolve}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, path, &how)
		if err == unix.EINTR || err == unix.EAGAIN && tries < 128 {
			continue
		}
		return fd, wrap("open", path, err)
	}
}

// Close closes fd; there is nothing to do about an error.
func Close(fd int) { _ = unix.Close(fd) }

// Stat is fstat(2).
func Stat(fd int) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(fd, &st) })
	return st, wrap("fstat", "", err)
}

// Magic returns the type of the file system below fd (statfs(2) f_type).
func Magic(fd int) (int64, error) {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Fstatfs(fd, &st) })
	return int64(st.Type), wrap("fstatfs", "", err)
}

// Mkdirat is mkdirat(2).
func Mkdirat(dir int, name string, mode uint32) error {
	return wrap("mkdir", name, retry(func() error { return unix.Mkdirat(dir, name, mode) }))
}

// Mknodat is mknodat(2).
func Mknodat(dir int, name string, mode uint32, dev uint64) error {
	return wrap("mknod", name, retry(func() error { return unix.Mknodat(dir, name, mode, int(dev)) }))
}

// Symlinkat is symlinkat(2).
func Symlinkat(target string, dir int, name string) error {
	return wrap("symlink", name, retry(func() error { return unix.Symlinkat(target, dir, name) }))
}

// Readlinkat reads the link name in dir, or with name "" the link that dir itself is.
func Readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := retryFD(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err != nil {
		return "", wrap("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// ReadAll reads fd to its end, at most limit bytes; more is EFBIG.
func ReadAll(fd int, limit int) ([]byte, error) {
	buf := make([]byte, 0, min(4096, limit+1))
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := retryFD(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		switch {
		case err != nil:
			return nil, wrap("read", "", err)
		case n == 0:
			return buf, nil
		}
		if buf = buf[:len(buf)+n]; len(buf) > limit {
			return nil, wrap("read", "", unix.EFBIG)
		}
	}
}

// Write writes all of b in one call, as files of procfs and cgroupfs want it.
func Write(fd int, b string) error {
	n, err := retryFD(func() (int, error) { return unix.Write(fd, []byte(b)) })
	if err == nil && n != len(b) {
		err = unix.EIO
	}
	return wrap("write", "", err)
}

// WriteFile writes value to an existing file below dir.
func WriteFile(dir int, path, value string, resolve uint64) error {
	fd, err := Open(dir, path, unix.O_WRONLY, 0, resolve)
	if err != nil {
		return err
	}
	defer Close(fd)
	if err := Write(fd, value); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: Errno(err)}
	}
	return nil
}

// Errno digs the errno out of an error of this package; 0 if there is none.
func Errno(err error) syscall.Errno {
	for err != nil {
		if e, ok := err.(syscall.Errno); ok {
			return e
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}

// Ioctl is ioctl(2) with a pointer argument.
func Ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if e != 0 {
		return wrap("ioctl", "", e)
	}
	return nil
}

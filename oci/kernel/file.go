package kernel

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// OpenProc opens the procfs at /proc and makes sure that it is one. Open it before
// anything of a container's exists and look up through it afterwards: whatever is mounted
// later cannot divert a write (CVE-2019-19921, CVE-2025-52881).
func OpenProc() (int, error) {
	fd, err := Open(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, 0)
	if err != nil {
		return -1, err
	}
	if magic, err := Magic(fd); err != nil || magic != unix.PROC_SUPER_MAGIC {
		Close(fd)
		return -1, &fs.PathError{Op: "open", Path: "/proc", Err: unix.ENODEV}
	}
	return fd, nil
}

// procOnly keeps a look-up on the procfs itself: no overmount, no link but "self",
// which is no magic link.
const procOnly = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// ReadProc reads a file of a procfs of OpenProc.
func ReadProc(proc int, path string) ([]byte, error) {
	fd, err := Open(proc, path, unix.O_RDONLY, 0, procOnly)
	if err != nil {
		return nil, err
	}
	defer Close(fd)
	return ReadAll(fd, 16<<20)
}

// WriteProc writes value to a file of a procfs of OpenProc in one write.
func WriteProc(proc int, path, value string) error { return WriteFile(proc, path, value, procOnly) }

// Lchownat changes the owner of name in dir, of a link itself.
func Lchownat(dir int, name string, uid, gid uint32) error {
	return wrap("chown", name, retry(func() error {
		return unix.Fchownat(dir, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// Fchown is fchown(2).
func Fchown(fd int, uid, gid uint32) error {
	return wrap("fchown", "", retry(func() error { return unix.Fchown(fd, int(uid), int(gid)) }))
}

// Fchmod is fchmod(2).
func Fchmod(fd int, mode uint32) error {
	return wrap("fchmod", "", retry(func() error { return unix.Fchmod(fd, mode) }))
}

// Chdir is chdir(2).
func Chdir(path string) error { return wrap("chdir", path, unix.Chdir(path)) }

// Fchdir is fchdir(2).
func Fchdir(fd int) error { return wrap("fchdir", "", unix.Fchdir(fd)) }

// Names lists the directory open at fd, without "." and "..".
func Names(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := retryFD(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil {
			return nil, wrap("getdents", "", err)
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Copy copies from one file to another until the end.
func Copy(from, to int) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := retryFD(func() (int, error) { return unix.Read(from, buf) })
		if err != nil || n == 0 {
			return wrap("read", "", err)
		}
		for rest := buf[:n]; len(rest) > 0; {
			m, err := retryFD(func() (int, error) { return unix.Write(to, rest) })
			if err != nil {
				return wrap("write", "", err)
			}
			rest = rest[m:]
		}
	}
}

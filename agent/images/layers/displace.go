package layers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix" // renameat and unlinkat on descriptors
)

// displaced keeps regular files that a later entry of the same layer replaced: the
// recipe still needs their contents. A file is named by its canonical path's hash and
// how many of that path were displaced before it.
type displaced struct {
	dir    string // made at the first use
	fd     int    // -1 until then
	counts map[string]int
	bytes  int64
	files  int64
}

func displacedKey(canonical string, n int) string {
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:16]) + "-" + strconv.Itoa(n)
}

func (d *displaced) take(p *parent, base string, size int64) error {
	if d.fd < 0 {
		if err := os.Mkdir(d.dir, 0o700); err != nil && !os.IsExist(err) {
			return err
		}
		fd, err := unix.Open(d.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: d.dir, Err: err}
		}
		d.fd = fd
	}
	canonical := p.join(base)
	n := d.counts[canonical]
	if err := unix.Renameat(p.fd, base, d.fd, displacedKey(canonical, n)); err != nil {
		return &os.PathError{Op: "rename", Path: canonical, Err: err}
	}
	d.counts[canonical] = n + 1
	d.bytes += onDisk(size)
	d.files++
	return nil
}

func (d *displaced) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
}

// clear takes away what is at base, a directory with all in it, and says whether it was
// a whiteout. Regular files go to displaced. Each file is removed once after it was made,
// so the whole stays linear.
func (u *unpacker) clear(p *parent, base string) (whiteout bool, err error) {
	st, err := p.lstat(base)
	if err != nil {
		return false, &os.PathError{Op: "lstat", Path: p.join(base), Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return false, u.displaced.take(p, base, st.Size)
	case unix.S_IFDIR:
		// The cache may hold directories below, and p itself came from it: clear the
		// directory through a descriptor of its own, then forget. p stays usable
		// through a duplicate.
		if err := u.clearDir(p, base); err != nil {
			return false, err
		}
		return false, u.forgetBut(p)
	case unix.S_IFLNK:
		if err := unix.Unlinkat(p.fd, base, 0); err != nil {
			return false, &os.PathError{Op: "unlink", Path: p.join(base), Err: err}
		}
		return false, u.forgetBut(p)
	}
	if err := unix.Unlinkat(p.fd, base, 0); err != nil {
		return false, &os.PathError{Op: "unlink", Path: p.join(base), Err: err}
	}
	return isWhiteout(&st), nil
}

// forgetBut empties the cache of directories and keeps p open until the next time.
func (u *unpacker) forgetBut(p *parent) error {
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	u.forget()
	p.fd = fd
	u.parents["\x00kept"] = p // no clean name has a NUL
	return nil
}

func (u *unpacker) clearDir(p *parent, base string) error {
	name := p.join(base)
	fd, err := unix.Openat(p.fd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	in := &parent{fd: fd, path: name}
	for _, n := range names {
		st, err := in.lstat(n)
		if err != nil {
			return &os.PathError{Op: "lstat", Path: in.join(n), Err: err}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			err = u.clearDir(in, n)
		case unix.S_IFREG:
			err = u.displaced.take(in, n, st.Size)
		default:
			err = unix.Unlinkat(fd, n, 0)
		}
		if err != nil {
			return fmt.Errorf("remove %q: %w", in.join(n), err)
		}
	}
	delete(u.implicit, name)
	if err := unix.Unlinkat(p.fd, base, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix" // *at calls on the entry's parent
)

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."     // AUFS's own files; image-spec layer.md
	whiteoutOpaque = ".wh..wh..opq" // the directory hides everything below it
	overlayOpaque  = "trusted.overlay.opaque"
)

// apply puts one entry into the tree.
func (u *unpacker) apply(h *tar.Header, r io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return fmt.Errorf("owner %d:%d: %w", h.Uid, h.Gid, ErrInvalid)
	}
	if name == "" {
		return u.rootEntry(h)
	}
	dir, base := split(name)
	p, err := u.parentOf(dir, true)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(p, base, h.Typeflag)
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse: // NUL: a regular file of a V7 tar
		return u.file(p, base, h, r)
	case tar.TypeDir:
		return u.directory(p, base, h)
	case tar.TypeSymlink:
		return u.symlink(p, base, h)
	case tar.TypeLink:
		return u.hardlink(p, base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(p, base, h)
	}
	return fmt.Errorf("entry of type %q: %w", h.Typeflag, ErrInvalid)
}

func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return nil // a file cannot be the root; GNU tar writes such entries for volume labels
	}
	if err := unix.Fchown(u.root, h.Uid, h.Gid); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(u.root, mode(h)); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	u.dirs = append(u.dirs, lateDir{"", h.ModTime, u.xattrs(h)})
	u.rootSeen = true
	return nil
}

func mode(h *tar.Header) uint32 { return uint32(h.Mode & 0o7777) }

// place calls create, clearing what is in the way once.
func (u *unpacker) place(p *parent, base string, create func() error) error {
	err := create()
	if errors.Is(err, unix.EEXIST) {
		if _, err := u.clear(p, base); err != nil {
			return err
		}
		err = create()
	}
	if err != nil {
		return err
	}
	u.inodes++
	return nil
}

func (u *unpacker) file(p *parent, base string, h *tar.Header, r io.Reader) error {
	var fd int
	err := u.place(p, base, func() (err error) {
		// 0600 until the owner is right: a setuid file must not run as somebody else's.
		fd, err = unix.Openat(p.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer unix.Close(fd)
	canonical := p.join(base)
	if isSparse(h) {
		u.recipe.addName(canonical)
		err = u.writeSparse(fd, h.Size, r)
	} else {
		u.recipe.addFile(canonical, h.Size)
		err = u.write(fd, r)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, mode(h)); err != nil { // after chown, which clears setuid
		return os.NewSyscallError("fchmod", err)
	}
	if err := setXattrs(fd, u.xattrs(h)); err != nil { // after chown, which clears capabilities
		return err
	}
	u.size += onDisk(h.Size)
	return setTimes(p.fd, base, h)
}

func (u *unpacker) directory(p *parent, base string, h *tar.Header) error {
	name := p.join(base)
	st, err := p.lstat(base)
	opaque := false
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if err == nil {
			if opaque, err = u.clear(p, base); err != nil {
				return err
			}
		}
		if err := unix.Mkdirat(p.fd, base, 0o700); err != nil {
			return fmt.Errorf("mkdir: %w", err)
		}
		u.inodes++
		u.size += onDisk(1)
	}
	delete(u.implicit, name)
	fd, err := unix.Openat(p.fd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	if opaque { // the layer first hid the name, then made a directory of it
		if err := unix.Fsetxattr(fd, overlayOpaque, []byte("y"), 0); err != nil {
			return os.NewSyscallError("fsetxattr", err)
		}
	}
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, mode(h)); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	u.dirs = append(u.dirs, lateDir{name, h.ModTime, u.xattrs(h)})
	return nil
}

func (u *unpacker) symlink(p *parent, base string, h *tar.Header) error {
	if h.Linkname == "" || strings.IndexByte(h.Linkname, 0) >= 0 {
		return fmt.Errorf("link target %q: %w", h.Linkname, ErrInvalid)
	}
	err := u.place(p, base, func() error { return unix.Symlinkat(h.Linkname, p.fd, base) })
	if err != nil {
		return fmt.Errorf("symlink: %w", err)
	}
	return u.setOwner(p, base, h)
}

func (u *unpacker) hardlink(p *parent, base string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	dir, tbase := split(target)
	// p may leave the cache while the target's parent is opened.
	pfd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	own := &parent{fd: pfd, path: p.path}
	defer unix.Close(pfd)
	tp, err := u.parentOf(dir, false)
	if err != nil || tbase == "" {
		return fmt.Errorf("hard link to %q, which is not in this layer: %w", h.Linkname, ErrInvalid)
	}
	if tp.join(tbase) == own.join(base) {
		return nil // a link to itself: clearing the way would remove the target
	}
	st, err := tp.lstat(tbase)
	if err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("hard link to %q, which is not a file of this layer: %w", h.Linkname, ErrInvalid)
	}
	tfd, err := unix.Openat(tp.fd, tbase, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	defer unix.Close(tfd)
	if err := u.linkFrom(tfd, own, base); err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		u.recipe.addName(own.join(base))
	}
	return nil
}

// linkFrom links the file itself, not its name: clearing base may take the name away.
func (u *unpacker) linkFrom(tfd int, p *parent, base string) error {
	link := func() error { return unix.Linkat(tfd, "", p.fd, base, unix.AT_EMPTY_PATH) }
	err := link()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if _, err := u.clear(p, base); err != nil {
		return err
	}
	return link()
}

func (u *unpacker) node(p *parent, base string, h *tar.Header) error {
	m, dev := mode(h), uint64(0)
	switch h.Typeflag {
	case tar.TypeFifo:
		m |= unix.S_IFIFO
	case tar.TypeChar:
		m |= unix.S_IFCHR
	case tar.TypeBlock:
		m |= unix.S_IFBLK
	}
	if h.Typeflag != tar.TypeFifo {
		// The kernel's own widths, include/linux/kdev_t.h: 12 and 20 bits.
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return fmt.Errorf("device %d:%d: %w", h.Devmajor, h.Devminor, ErrInvalid)
		}
		dev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	if err := u.place(p, base, func() error { return unix.Mknodat(p.fd, base, m, int(dev)) }); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if err := unix.Fchownat(p.fd, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	if err := unix.Fchmodat(p.fd, base, mode(h), 0); err != nil { // past the umask; it is a node, not a link
		return os.NewSyscallError("fchmodat", err)
	}
	return setTimes(p.fd, base, h)
}

func (u *unpacker) setOwner(p *parent, base string, h *tar.Header) error {
	if err := unix.Fchownat(p.fd, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	return setTimes(p.fd, base, h)
}

func setTimes(dirfd int, base string, h *tar.Header) error {
	atime := h.AccessTime
	if atime.IsZero() {
		atime = h.ModTime
	}
	ts := []unix.Timespec{timespec(atime), timespec(h.ModTime)}
	if err := unix.UtimesNanoAt(dirfd, base, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("utimensat", err)
	}
	return nil
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix" // mknodat, fsetxattr
)

// whiteout turns the image-spec's whiteout files into overlayfs's: a character device
// 0:0 in place of the name, or an attribute on an opaque directory
// (Documentation/filesystems/overlayfs.rst). It hides what lower layers have, never what
// this layer brought itself, before or after.
func (u *unpacker) whiteout(p *parent, base string, typ byte) error {
	if base == whiteoutOpaque {
		return u.opaque(p.fd, ".")
	}
	name := base[len(whiteoutPrefix):]
	if len(base) >= len(whiteoutMeta) && base[:len(whiteoutMeta)] == whiteoutMeta {
		return nil
	}
	if name == "" || name == "." || name == ".." || typ == tar.TypeDir {
		return fmt.Errorf("whiteout %q: %w", base, ErrInvalid)
	}
	st, err := p.lstat(name)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return u.opaque(p.fd, name)
	case err == nil:
		return nil
	case !errors.Is(err, unix.ENOENT):
		return &os.PathError{Op: "lstat", Path: p.join(name), Err: err}
	}
	if err := unix.Mknodat(p.fd, name, unix.S_IFCHR, 0); err != nil {
		return &os.PathError{Op: "mknod", Path: p.join(name), Err: err}
	}
	u.inodes++
	return nil
}

func (u *unpacker) opaque(dirfd int, name string) error {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, overlayOpaque, []byte("y"), 0); err != nil {
		return os.NewSyscallError("fsetxattr", err)
	}
	return nil
}

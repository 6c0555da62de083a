package layers

import (
	"archive/tar"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix" // fsetxattr, openat2
)

const paxXattr = "SCHILY.xattr."

type xattr struct{ name, value string }

// lateDir is what must wait until nothing more is put into a directory: its mtime, and
// attributes that children inherit (default ACLs).
type lateDir struct {
	path   string // canonical
	mtime  time.Time
	xattrs []xattr
}

// xattrs returns what an image may set, in a fixed order. Not trusted.*: an image that
// could write trusted.overlay.redirect or metacopy would tell overlayfs where to look.
// Not labels of a security module: they are the host's to give.
func (u *unpacker) xattrs(h *tar.Header) []xattr {
	var out []xattr
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if ok && xattrAllowed(name) {
			out = append(out, xattr{name, v})
		}
	}
	slices.SortFunc(out, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return out
}

func xattrAllowed(name string) bool {
	switch {
	case strings.HasPrefix(name, "user.overlay."): // what overlayfs reads when mounted with userxattr
		return false
	case strings.HasPrefix(name, "user."):
		return true
	}
	return name == "security.capability" || name == "security.ima" ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

func setXattrs(fd int, list []xattr) error {
	for _, x := range list {
		err := unix.Fsetxattr(fd, x.name, []byte(x.value), 0)
		// A file system without the attribute costs the image that attribute, not its life.
		if errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return &os.SyscallError{Syscall: "fsetxattr " + x.name, Err: err}
		}
	}
	return nil
}

// finishDirs sets what waited, the last entry of a name winning.
func (u *unpacker) finishDirs() error {
	for _, d := range u.dirs {
		name := d.path
		if name == "" {
			name = "."
		}
		fd, err := unix.Openat2(u.root, name, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: inRoot | unix.RESOLVE_NO_SYMLINKS,
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later entry replaced it
		}
		if err != nil {
			return &os.PathError{Op: "openat2", Path: d.path, Err: err}
		}
		err = setXattrs(fd, d.xattrs)
		if err == nil {
			ts := timespec(d.mtime)
			err = os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, ".", []unix.Timespec{ts, ts}, 0))
		}
		unix.Close(fd)
		if err != nil {
			return &os.PathError{Op: "finish", Path: d.path, Err: err}
		}
	}
	return nil
}

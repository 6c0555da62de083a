package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix" // linkat, *at calls on descriptors
)

// DirAttr is what a directory that no entry named takes from the layers below.
type DirAttr struct {
	Path     string // canonical, "." for the root
	Mode     uint32 // permission bits with setuid, setgid and sticky
	UID, GID uint32
}

func (a DirAttr) String() string { return fmt.Sprintf("%s %o %d:%d", a.Path, a.Mode, a.UID, a.GID) }

// InheritedAttrs looks the paths up in the merged view of the layers below (names under
// base, top-most first) and returns the attributes of those that are directories there and
// differ from what Unpack gives a directory that no entry names: 0755, root's.
func InheritedAttrs(base string, below []string, paths []string) ([]DirAttr, error) {
	var out []DirAttr
	for _, p := range paths {
		a, err := inherited(base, below, p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attributes of %q below: %w", p, err)
		}
		if a.Mode != 0o755 || a.UID != 0 || a.GID != 0 {
			out = append(out, a)
		}
	}
	return out, nil
}

func inherited(base string, below []string, path string) (DirAttr, error) {
	cur, err := openRoots(base, below)
	if err != nil {
		return DirAttr{}, err
	}
	defer func() { cur.close() }()
	if len(cur) == 0 {
		return DirAttr{}, fs.ErrNotExist
	}
	for _, c := range strings.Split(path, "/") {
		if c == "." {
			continue
		}
		found, err := cur.lookup(c)
		if err != nil {
			return DirAttr{}, err
		}
		if found.dir == nil {
			return DirAttr{}, unix.ENOTDIR
		}
		cur.close()
		cur = found.dir
	}
	var st unix.Stat_t
	if err := unix.Fstat(cur[0], &st); err != nil {
		return DirAttr{}, err
	}
	return DirAttr{Path: path, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}, nil
}

// Variant fills dir like Unpack did for the layer whose parts are root and recipe, but
// with the given attributes on directories. Files are hard links to the other's: layers
// are never written to. It returns the bytes and inodes that are new on disk.
func Variant(dir, root, recipe string, attrs []DirAttr) (size, inodes int64, err error) {
	if err := os.Link(filepath.Join(recipe, RecipeFile), filepath.Join(dir, RecipeFile)); err != nil {
		return 0, 0, err
	}
	c := &cloner{}
	if err := c.dir(filepath.Join(recipe, DisplacedDir), filepath.Join(dir, DisplacedDir)); err != nil && !os.IsNotExist(err) {
		return 0, 0, err
	}
	if err := c.dir(root, filepath.Join(dir, RootDir)); err != nil {
		return 0, 0, err
	}
	fd, err := unix.Open(filepath.Join(dir, RootDir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	for _, a := range attrs {
		if err := applyAttr(fd, a); err != nil {
			return 0, 0, err
		}
	}
	return c.dirs * onDisk(1), c.dirs, nil
}

func applyAttr(root int, a DirAttr) error {
	fd, err := unix.Openat2(root, a.Path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return &os.PathError{Op: "openat2", Path: a.Path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
		return &os.PathError{Op: "chown", Path: a.Path, Err: err}
	}
	if err := unix.Fchmod(fd, a.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: a.Path, Err: err}
	}
	return nil
}

type cloner struct{ dirs int64 }

// dir copies the directory at src to dst, which must not exist.
func (c *cloner) dir(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	to, err := os.Open(dst)
	if err != nil {
		return err
	}
	defer to.Close()
	return c.contents(from, to)
}

func (c *cloner) contents(from, to *os.File) error {
	entries, err := from.ReadDir(-1)
	if err != nil {
		return err
	}
	ffd, tfd := int(from.Fd()), int(to.Fd())
	for _, e := range entries {
		if !e.IsDir() {
			if err := unix.Linkat(ffd, e.Name(), tfd, e.Name(), 0); err != nil {
				return &os.LinkError{Op: "link", Old: from.Name() + "/" + e.Name(), New: to.Name() + "/" + e.Name(), Err: err}
			}
			continue
		}
		if err := c.sub(ffd, tfd, from.Name()+"/"+e.Name(), e.Name()); err != nil {
			return err
		}
	}
	c.dirs++
	return copyDirAttrs(ffd, tfd)
}

func (c *cloner) sub(ffd, tfd int, path, name string) error {
	if err := unix.Mkdirat(tfd, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f, err := unix.Openat(ffd, name, flags, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	from := os.NewFile(uintptr(f), path)
	defer from.Close()
	if f, err = unix.Openat(tfd, name, flags, 0); err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	to := os.NewFile(uintptr(f), path)
	defer to.Close()
	return c.contents(from, to)
}

// copyDirAttrs copies owner, mode, attributes and times, after the contents are there.
func copyDirAttrs(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	var names [4096]byte
	n, err := unix.Flistxattr(from, names[:])
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return os.NewSyscallError("flistxattr", err)
	}
	for _, name := range strings.FieldsFunc(string(names[:max(n, 0)]), func(r rune) bool { return r == 0 }) {
		if name != overlayOpaque && !xattrAllowed(name) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		k, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:k], 0)
		}
		if err != nil {
			return os.NewSyscallError("xattr "+name, err)
		}
	}
	ts := []unix.Timespec{st.Atim, st.Mtim}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(to, ".", ts, 0))
}

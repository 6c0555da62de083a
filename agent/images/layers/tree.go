package layers

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix" // *at calls and openat2: package os has no O_PATH, mknodat or RESOLVE_IN_ROOT
)

// inRoot keeps every lookup below the root whatever links say; openat2(2).
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// maxParents bounds the cache of open directories.
const maxParents = 64

// tree is a directory that entries are put into. Nobody else changes it meanwhile.
type tree struct {
	root    int
	prefix  string // root's own path, to make canonical paths of descriptors'
	parents map[string]*parent
	// implicit holds the canonical paths of directories that no entry named so far.
	implicit map[string]bool
	made     int64 // directories made by parentOf
}

// parent is an open directory below the root.
type parent struct {
	fd   int    // O_PATH
	path string // canonical: relative to the root, without links; "" is the root
}

func (p *parent) join(base string) string { return path.Join(p.path, base) }

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &tree{root: fd, parents: map[string]*parent{}, implicit: map[string]bool{}}
	if t.prefix, err = fdPath(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return t, nil
}

func (t *tree) close() {
	t.forget()
	unix.Close(t.root)
}

// forget drops the cached directories: after a directory or a link went away, a name may
// mean another one.
func (t *tree) forget() {
	for k, p := range t.parents {
		unix.Close(p.fd)
		delete(t.parents, k)
	}
}

func fdPath(fd int) (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

// cleanName makes an entry's name relative to the root; "" is the root itself. ".." stops
// at the root, as it does in a chroot.
func cleanName(name string) (string, error) {
	if len(name) > maxName {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), ErrInvalid)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("name %q has a NUL: %w", name, ErrInvalid)
	}
	return path.Clean("/" + name)[1:], nil
}

// split is path.Split for clean relative names.
func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// parentOf opens the directory dir (clean, relative), following links inside the root.
// A missing one is made, 0755 and root's, when create is set. The result stays open
// until forget.
func (t *tree) parentOf(dir string, create bool) (*parent, error) {
	return t.parentDepth(dir, create, 0)
}

func (t *tree) parentDepth(dir string, create bool, links int) (*parent, error) {
	if p, ok := t.parents[dir]; ok {
		return p, nil
	}
	p, err := t.open(dir)
	if err == nil {
		return p, nil
	}
	if !errors.Is(err, unix.ENOENT) || !create {
		return nil, err
	}
	if links > 40 { // as many as the kernel follows; path_resolution(7)
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: unix.ELOOP}
	}
	up, base := split(dir)
	above, err := t.parentDepth(up, true, links)
	if err != nil {
		return nil, err
	}
	switch err := unix.Mkdirat(above.fd, base, 0o755); {
	case errors.Is(err, unix.EEXIST):
		return t.throughLink(above, base, dir, links)
	case err != nil:
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	// umask and a setgid parent must not show.
	if err := unix.Fchmodat(above.fd, base, 0o755, 0); err != nil {
		return nil, &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	if err := unix.Fchownat(above.fd, base, 0, 0, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &os.PathError{Op: "chown", Path: dir, Err: err}
	}
	t.implicit[above.join(base)] = true
	t.made++
	return t.open(dir)
}

// throughLink makes the directory that a dangling link at base points to.
func (t *tree) throughLink(above *parent, base, dir string, links int) (*parent, error) {
	var buf [maxName]byte
	n, err := unix.Readlinkat(above.fd, base, buf[:])
	if err != nil {
		return nil, &os.PathError{Op: "readlink", Path: dir, Err: err}
	}
	target := string(buf[:n])
	if !path.IsAbs(target) {
		target = path.Join(above.path, target)
	}
	clean, err := cleanName(target)
	if err != nil {
		return nil, err
	}
	return t.parentDepth(clean, true, links+1)
}

func (t *tree) open(dir string) (*parent, error) {
	name := dir
	if name == "" {
		name = "."
	}
	fd, err := unix.Openat2(t.root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: dir, Err: err}
	}
	canonical, err := fdPath(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if len(t.parents) >= maxParents {
		t.forget()
	}
	p := &parent{fd: fd, path: strings.TrimPrefix(strings.TrimPrefix(canonical, t.prefix), "/")}
	t.parents[dir] = p
	return p, nil
}

// lstat returns unix.ENOENT as the error when there is nothing.
func (p *parent) lstat(base string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

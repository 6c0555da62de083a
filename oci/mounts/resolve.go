package mounts

import (
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kernel"
)

const (
	maxLinks = 40 // as the kernel's own limit
	// maxRaces bounds how often somebody may remove what was just made before we give up.
	maxRaces = 64
)

// strict says whether no link may lie on the way to p. A link at /dev, /proc or /sys of
// an image would send our devices, procfs or LSM labels elsewhere (CVE-2026-41579).
func strict(p string) bool {
	for _, top := range []string{"/dev", "/proc", "/sys"} {
		if p == top || strings.HasPrefix(p, top+"/") {
			return true
		}
	}
	return false
}

// lookup opens what p names inside the root.
func (x *Executor) lookup(p string) (int, error) {
	p = path.Clean("/" + p)
	resolve := uint64(kernel.InRoot)
	if strict(p) {
		resolve = kernel.NoSymlinks
	}
	if p = p[1:]; p == "" {
		p = "."
	}
	return x.k.Open(x.root, p, unix.O_PATH, resolve)
}

// destination opens what p names inside the root and makes what is missing: directories,
// and for dir false an empty file at the end.
func (x *Executor) destination(p string, dir bool) (int, error) {
	fd, err := x.lookup(p)
	if err == nil || kernel.Errno(err) != syscall.ENOENT {
		return fd, err
	}
	p = path.Clean("/" + p)
	w := walk{x: x, stack: []int{x.root}, todo: strings.Split(p[1:], "/"), dir: dir, strict: strict(p)}
	defer w.close()
	return w.run()
}

// walk resolves a path one component at a time along descriptors: ".." goes back to the
// directory that we came from, an absolute link to the root, so that no rename can lead
// out; mkdirat works in the open directory (CVE-2024-45310).
type walk struct {
	x      *Executor
	stack  []int // descriptors from the root to here
	todo   []string
	links  int
	races  int
	dir    bool
	strict bool
}

func (w *walk) top() int { return w.stack[len(w.stack)-1] }

func (w *walk) pop() {
	if len(w.stack) > 1 {
		w.x.k.Close(w.top())
		w.stack = w.stack[:len(w.stack)-1]
	}
}

func (w *walk) close() {
	for len(w.stack) > 1 {
		w.pop()
	}
}

func (w *walk) run() (int, error) {
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		switch name {
		case "", ".":
		case "..":
			w.pop()
		default:
			if err := w.step(name); err != nil {
				return -1, err
			}
		}
	}
	if len(w.stack) == 1 { // links led back to the root
		return w.x.k.Open(w.x.root, ".", unix.O_PATH, kernel.InRoot)
	}
	fd := w.top()
	w.stack = w.stack[:len(w.stack)-1]
	return fd, nil
}

// step goes into name, or puts what the link name says before what is left to do.
func (w *walk) step(name string) error {
	fd, err := w.enter(name)
	if err != nil {
		return err
	}
	st, err := w.x.k.Stat(fd)
	if err != nil {
		w.x.k.Close(fd)
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.stack = append(w.stack, fd)
		return nil
	}
	defer w.x.k.Close(fd)
	target, err := w.link(fd)
	if err != nil {
		return err
	}
	if strings.HasPrefix(target, "/") {
		w.close()
	}
	w.todo = append(strings.Split(target, "/"), w.todo...)
	return nil
}

func (w *walk) link(fd int) (string, error) {
	if w.links++; w.strict || w.links > maxLinks {
		return "", syscall.ELOOP
	}
	if magic, err := w.x.k.Magic(fd); err != nil || magic == unix.PROC_SUPER_MAGIC {
		return "", syscall.ELOOP // what a link of procfs says is not where it leads
	}
	return w.x.k.Readlink(fd)
}

// enter opens name in the current directory without following it, made if missing.
func (w *walk) enter(name string) (int, error) {
	for {
		fd, err := w.x.k.Open(w.top(), name, unix.O_PATH|unix.O_NOFOLLOW, kernel.InRoot)
		if kernel.Errno(err) != syscall.ENOENT {
			return fd, err
		}
		if w.races++; w.races > maxRaces {
			return -1, err
		}
		n := Node{Mode: unix.S_IFDIR | 0o755}
		if len(w.todo) == 0 && !w.dir {
			n = Node{Mode: unix.S_IFREG | 0o644}
		}
		if err := w.x.k.Make(w.top(), name, n); err != nil && kernel.Errno(err) != syscall.EEXIST {
			return -1, err
		}
	}
}

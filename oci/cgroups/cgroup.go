package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrSystemd is wrapped by the error for a path in the systemd driver's form.
var ErrSystemd = errors.New("the systemd cgroup driver is not supported yet")

// Cgroup is one cgroup, in all hierarchies at once. It need not exist.
type Cgroup struct {
	path string // absolute within every hierarchy, clean, never "/"
	t    *tree
}

// Open gives a handle to the cgroup at path, which need not exist; nothing is touched.
func Open(path string) (*Cgroup, error) {
	t, err := system()
	if err != nil {
		return nil, err
	}
	p, err := cleanPath(path)
	if err != nil {
		return nil, err
	}
	return &Cgroup{path: p, t: t}, nil
}

// cleanPath refuses what would name the root, another cgroup than it reads like, or a
// unit of systemd ("slice:prefix:name").
func cleanPath(p string) (string, error) {
	if strings.Count(p, ":") == 2 && !strings.Contains(p, "/") {
		return "", fmt.Errorf("cgroup path %q: %w; use a path that begins with \"/\"", p, ErrSystemd)
	}
	for e := range strings.SplitSeq(p, "/") {
		if e == ".." {
			return "", fmt.Errorf("cgroup path %q must not contain \"..\"", p)
		}
	}
	if strings.ContainsAny(p, "\x00\n") {
		return "", fmt.Errorf("cgroup path %q has a control byte", p)
	}
	c := path.Clean("/" + p)
	if c == "/" {
		return "", fmt.Errorf("cgroup path %q is the root of the hierarchies", p)
	}
	return c, nil
}

// Path is the cgroup's path within every hierarchy.
func (c *Cgroup) Path() string { return c.path }

// mounts are all hierarchies' mount points, cgroup2's last.
func (c *Cgroup) mounts() []string {
	m := make([]string, 0, len(c.t.v1)+1)
	for _, h := range c.t.v1 {
		m = append(m, h.mount)
	}
	if c.t.unified != "" {
		m = append(m, c.t.unified)
	}
	return m
}

// dir is the cgroup's directory in a controller's hierarchy, "" where there is none.
func (c *Cgroup) dir(controller string) string {
	if m := c.t.by[controller]; m != "" {
		return m + c.path
	}
	if c.t.mode == V2 {
		return c.t.unified + c.path
	}
	return ""
}

// unifiedDir is the cgroup2 directory, "" where no cgroup2 is mounted.
func (c *Cgroup) unifiedDir() string {
	if c.t.unified == "" {
		return ""
	}
	return c.t.unified + c.path
}

// Exists reports whether the cgroup is there in every hierarchy.
func (c *Cgroup) Exists() bool {
	for _, m := range c.mounts() {
		if unix.Access(m+c.path, unix.F_OK) != nil {
			return false
		}
	}
	return true
}

// TasksFiles are the v1 hierarchies' `tasks` files, into which a thread writes "0" to
// enter the cgroup; empty on v2.
func (c *Cgroup) TasksFiles() []string {
	files := make([]string, len(c.t.v1))
	for i, h := range c.t.v1 {
		files[i] = h.mount + c.path + "/tasks"
	}
	return files
}

// OpenDir opens the cgroup2 directory for CLONE_INTO_CGROUP (clone(2)); nil where no
// cgroup2 is mounted.
func (c *Cgroup) OpenDir() (*os.File, error) {
	d := c.unifiedDir()
	if d == "" {
		return nil, nil
	}
	fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: d, Err: err}
	}
	return os.NewFile(uintptr(fd), d), nil
}

// OOMFile is the file whose "oom_kill N" line counts the processes that the OOM killer
// ended in this cgroup (on v2 also in its children), "" where memory is not accounted.
func (c *Cgroup) OOMFile() string {
	switch d := c.dir("memory"); {
	case d == "":
		return ""
	case c.t.by["memory"] != "":
		return filepath.Join(d, "memory.oom_control")
	default:
		return filepath.Join(d, "memory.events")
	}
}

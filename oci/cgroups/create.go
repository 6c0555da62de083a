package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// madeAttr marks parents that Create made, so that RemoveParents takes away no one
// else's. Kernfs keeps it as long as the directory, which is exactly as long as it matters.
const madeAttr = "trusted.slipway.made"

// Create makes the cgroup in every hierarchy, with the parents that are missing, and
// applies r (nil for none; see Update for its reading). A cgroup that is there already is
// taken as it is and limited by r. No process is moved. When a step fails, what this call
// made is removed again.
func Create(path string, r *specs.LinuxResources) (*Cgroup, error) {
	c, err := Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := c.create(r); err != nil {
		return nil, err
	}
	return c, nil
}

// Ensure is Create that applies r only where the cgroup was not there yet, and says
// whether it made it.
func Ensure(path string, r *specs.LinuxResources) (c *Cgroup, made bool, err error) {
	c, err = Open(path)
	if err != nil {
		return nil, false, err
	}
	if c.Exists() {
		return c, false, nil
	}
	made, err = c.create(r)
	if err != nil {
		return nil, false, err
	}
	return c, made, nil
}

func (c *Cgroup) create(r *specs.LinuxResources) (made bool, err error) {
	var dirs []string
	defer func() {
		if err != nil {
			for i := len(dirs) - 1; i >= 0; i-- {
				_ = unix.Rmdir(dirs[i])
			}
		}
	}()
	for _, m := range c.mounts() {
		d, err := c.mkdir(m)
		dirs = append(dirs, d...)
		if err != nil {
			return false, err
		}
	}
	if err := c.prepare(); err != nil {
		return false, err
	}
	if r != nil {
		if err := c.apply(r); err != nil {
			return false, fmt.Errorf("cgroup %s: %w", c.path, err)
		}
	}
	return len(dirs) > 0, nil
}

// prepare makes a new cgroup fit for processes and limits.
func (c *Cgroup) prepare() error {
	if m := c.t.by["cpuset"]; m != "" {
		if err := fillCpuset(m, c.path); err != nil {
			return err
		}
	}
	if c.t.mode == V2 {
		return enableControllers(c.t.unified, c.path, c.t.controllers)
	}
	return nil
}

// mkdir makes the directory below one mount point, and returns what it made, outermost
// first. Someone else may be removing the parents meanwhile: it tries again then.
func (c *Cgroup) mkdir(mount string) (made []string, err error) {
	for range 10 {
		err = unix.Mkdir(mount+c.path, 0o755)
		switch {
		case err == nil:
			return append(made, mount+c.path), nil
		case err == unix.EEXIST:
			return made, nil
		case err != unix.ENOENT:
			return made, &os.PathError{Op: "mkdir", Path: mount + c.path, Err: err}
		}
		for _, p := range parents(c.path) {
			perr := unix.Mkdir(mount+p, 0o755)
			if perr == nil {
				made = append(made, mount+p)
				_ = unix.Setxattr(mount+p, madeAttr, []byte{'1'}, 0) // without it the parent only stays
				continue
			}
			if perr == unix.ENOENT {
				break
			}
			if perr != unix.EEXIST {
				return made, &os.PathError{Op: "mkdir", Path: mount + p, Err: perr}
			}
		}
	}
	return made, &os.PathError{Op: "mkdir", Path: mount + c.path, Err: err}
}

// parents of "/a/b/c" are "/a" and "/a/b".
func parents(p string) []string {
	var out []string
	for i := 1; i < len(p); i++ {
		if p[i] == '/' {
			out = append(out, p[:i])
		}
	}
	return out
}

// fillCpuset gives cpus and mems to a v1 cpuset cgroup and to those parents that have
// none, without which no process may enter (cpusets(7)).
func fillCpuset(mount, p string) error {
	return inheritCpuset(mount, p, 0)
}

func inheritCpuset(mount, p string, depth int) error {
	if depth > 64 {
		return fmt.Errorf("cpuset %s: nested too deeply", p)
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		v, err := readString(mount+p, name)
		if err != nil {
			return err
		}
		if v != "" {
			continue
		}
		up := path.Dir(p)
		if up != "/" {
			if err := inheritCpuset(mount, up, depth+1); err != nil {
				return err
			}
		}
		if v, err = readString(strings.TrimSuffix(mount+up, "/"), name); err != nil {
			return err
		}
		if err := writeFile(mount+p, name, v); err != nil {
			return err
		}
	}
	if depth > 0 {
		// Children made from now on are born filled, which saves each four accesses.
		_ = writeFile(mount+p, "cgroup.clone_children", "1")
	}
	return nil
}

// enableControllers gives the cgroup2 cgroup at p the files of the wanted controllers, by
// enabling them in its parents from the root down. A parent that refuses one (it holds
// processes, or its own parent lacks it) is passed over: setting a limit then fails,
// naming the file.
func enableControllers(mount, p string, want []string) error {
	missing, err := missingControllers(mount+p, want)
	if err != nil || len(missing) == 0 {
		return err
	}
	for _, up := range append([]string{""}, parents(p)...) {
		if writeFile(mount+up, "cgroup.subtree_control", "+"+strings.Join(missing, " +")) == nil {
			continue
		}
		for _, name := range missing {
			_ = writeFile(mount+up, "cgroup.subtree_control", "+"+name)
		}
	}
	return nil
}

func missingControllers(dir string, want []string) ([]string, error) {
	have, err := readString(dir, "cgroup.controllers")
	if err != nil {
		return nil, err
	}
	return lacking(strings.Fields(have), want), nil
}

func lacking(have, want []string) []string {
	set := map[string]bool{}
	for _, h := range have {
		set[h] = true
	}
	var out []string
	for _, w := range want {
		if !set[w] {
			out = append(out, w)
		}
	}
	return out
}

// isGone reports that a cgroup is not there (any more): its files answer ENODEV once it
// is removed.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

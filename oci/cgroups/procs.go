package cgroups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Pids lists the processes in the cgroup and its children, sorted, each once; a cgroup
// that is not there has none. On v1 all hierarchies are asked: a process may have entered
// some of them only.
func (c *Cgroup) Pids() ([]int, error) {
	mounts := c.mounts()
	if c.t.mode == V2 {
		mounts = []string{c.t.unified}
	}
	var pids []int
	var errs []error
	for _, m := range mounts {
		err := walk(m+c.path, func(dir string) error {
			p, err := readPids(dir)
			pids = append(pids, p...)
			return err
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), errors.Join(errs...)
}

// readPids reads cgroup.procs, or cgroup.threads in a threaded v2 cgroup, where the
// former answers EOPNOTSUPP.
func readPids(dir string) ([]int, error) {
	b, err := readFile(dir, "cgroup.procs", make([]byte, 0, 1024))
	if errors.Is(err, unix.EOPNOTSUPP) {
		b, err = readFile(dir, "cgroup.threads", b)
	}
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parsePids(b), nil
}

// parsePids leaves out 0, which stands for a process outside the reader's PID namespace.
func parsePids(b []byte) []int {
	var pids []int
	for line := range bytes.Lines(b) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// walk calls f for dir and every cgroup below it, children first. A directory that is
// gone is no error. st_nlink of a cgroup directory is 2 plus its children, so that a leaf
// (nearly all are) costs one stat.
func walk(dir string, f func(dir string) error) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		if isGone(err) {
			return nil
		}
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Nlink != 2 {
		entries, err := os.ReadDir(dir)
		if err != nil && !isGone(err) {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				if err := walk(dir+"/"+e.Name(), f); err != nil {
					return err
				}
			}
		}
	}
	return f(dir)
}

// KillAll sends SIGKILL to every process of the cgroup and its children until none is
// left, frozen ones too, or ctx ends; the error then names those that are left. Zombies
// do not count (the kernel lists none since 5.2): reaping is their parent's.
func (c *Cgroup) KillAll(ctx context.Context) error {
	wait := 200 * time.Microsecond
	for {
		left, err := c.killOnce()
		if err != nil {
			return fmt.Errorf("kill cgroup %s: %w", c.path, err)
		}
		if len(left) == 0 {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("kill cgroup %s: processes %v are left: %w", c.path, left, ctx.Err())
		case <-t.C:
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// killOnce returns the processes that were there when it killed.
func (c *Cgroup) killOnce() ([]int, error) {
	if c.t.mode == V2 {
		// cgroup.kill (5.14) takes forks under way with it.
		err := writeFile(c.unifiedDir(), "cgroup.kill", "1")
		if isGone(err) && !c.Exists() {
			return nil, nil
		}
		if err == nil {
			populated, err := c.event("populated")
			if !populated || err != nil {
				return nil, err
			}
			return c.Pids()
		}
	}
	pids, err := c.Pids()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return nil, fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	if len(pids) > 0 && c.t.mode != V2 {
		return pids, c.thawForKill() // a frozen v1 task handles no signal
	}
	return pids, nil
}

func (c *Cgroup) thawForKill() error {
	d := c.dir("freezer")
	if d == "" {
		return nil
	}
	return walk(d, func(dir string) error {
		s, err := readString(dir, "freezer.state")
		if isGone(err) || s == "THAWED" {
			return nil
		}
		if err == nil {
			err = writeFile(dir, "freezer.state", "THAWED")
		}
		if isGone(err) {
			return nil
		}
		return err
	})
}

// event reads a flag of cgroup.events; false for a cgroup that is gone.
func (c *Cgroup) event(key string) (bool, error) {
	s, err := readString(c.unifiedDir(), "cgroup.events")
	if isGone(err) {
		return false, nil
	}
	for line := range strings.Lines(s) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == key {
			return v == "1", err
		}
	}
	return false, err
}

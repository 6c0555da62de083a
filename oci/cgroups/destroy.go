package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// busyFor bounds how long Destroy waits for a cgroup whose last process has just ended:
// the kernel lets it go a moment after the exit is told.
const busyFor = 500 * time.Millisecond

// Destroy removes the cgroup and its children from every hierarchy, and nothing else. It
// kills nothing: processes that are left make it an error (EBUSY). What is gone already
// is no error.
func (c *Cgroup) Destroy(ctx context.Context) error {
	deadline := time.Now().Add(busyFor)
	var errs []error
	for _, m := range c.mounts() {
		if err := destroyDir(ctx, m+c.path, deadline); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("remove cgroup %s: %w", c.path, errors.Join(errs...))
	}
	return nil
}

// RemoveEmpty removes the cgroup where no hierarchy has processes or children in it, with
// one system call each, and reports whether all of it is gone: the usual end, for which
// looking first would cost more than trying.
func (c *Cgroup) RemoveEmpty() bool {
	gone := true
	for _, m := range c.mounts() {
		if rmdir(m+c.path) != nil {
			gone = false
		}
	}
	return gone
}

func destroyDir(ctx context.Context, dir string, deadline time.Time) error {
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := rmdir(dir)
		if errors.Is(err, unix.EBUSY) {
			// Children keep it busy as processes do; only now is it worth looking.
			err = walk(dir, rmdir)
		}
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(err, ctx.Err())
		case <-t.C:
		}
	}
}

func rmdir(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: dir, Err: err}
}

// RemoveParents removes the parents that Create made and that are empty now, up to the
// first that is neither; keep, a path, and what is above it stay in any case. Best
// effort: what cannot be removed is in use.
func (c *Cgroup) RemoveParents(keep string) {
	for p := path.Dir(c.path); p != "/" && p != keep; p = path.Dir(p) {
		for _, m := range c.mounts() {
			if _, err := unix.Getxattr(m+p, madeAttr, nil); err != nil {
				if err == unix.ENOENT {
					continue
				}
				return
			}
			if unix.Rmdir(m+p) != nil {
				return
			}
		}
	}
}

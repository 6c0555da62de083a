package cgroups

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Freeze stops every process of the cgroup and its children, and returns when the kernel
// says that all are; when ctx ends first, it thaws them again.
func (c *Cgroup) Freeze(ctx context.Context) error {
	if err := c.setFrozen(true); err != nil {
		return err
	}
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		done, err := c.frozen()
		if err != nil || done {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(fmt.Errorf("freeze cgroup %s: %w", c.path, ctx.Err()), c.Thaw())
		case <-t.C:
		}
		if c.t.mode != V2 {
			// v1 may miss a task that forks while it freezes; writing again looks anew.
			if err := c.setFrozen(true); err != nil {
				return err
			}
		}
	}
}

// Thaw lets them run again; thawing what is not frozen is no error.
func (c *Cgroup) Thaw() error { return c.setFrozen(false) }

func (c *Cgroup) setFrozen(frozen bool) error {
	if c.t.mode == V2 {
		v := "0"
		if frozen {
			v = "1"
		}
		return writeFile(c.unifiedDir(), "cgroup.freeze", v)
	}
	d := c.dir("freezer")
	if d == "" {
		return fmt.Errorf("cgroup %s: controller \"freezer\" is not mounted", c.path)
	}
	v := "THAWED"
	if frozen {
		v = "FROZEN"
	}
	return writeFile(d, "freezer.state", v)
}

// Frozen says whether the kernel reports every process as stopped; false for a cgroup that is gone,
// and where there is no freezer.
func (c *Cgroup) Frozen() (bool, error) {
	if c.t.mode != V2 && c.dir("freezer") == "" {
		return false, nil
	}
	frozen, err := c.frozen()
	if isGone(err) {
		return false, nil
	}
	return frozen, err
}

func (c *Cgroup) frozen() (bool, error) {
	if c.t.mode == V2 {
		return c.event("frozen")
	}
	s, err := readString(c.dir("freezer"), "freezer.state")
	return s == "FROZEN", err
}

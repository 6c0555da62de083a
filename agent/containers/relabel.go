package containers

import (
	"fmt"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// relabel gives the sources of mounts that ask for it the container's SELinux label, so that its
// processes may use them. Without a label there is nothing to give.
func (c *Containers) relabel(paths []string, label string) error {
	if label == "" {
		return nil
	}
	for _, p := range paths {
		if c.o.Relabel == nil {
			return fmt.Errorf("mounts: selinux_relabel of %s: %w", p, lifecycle.ErrUnsupported)
		}
		if err := c.o.Relabel(p, label); err != nil {
			return fmt.Errorf("mounts: selinux_relabel: %w", err)
		}
	}
	return nil
}

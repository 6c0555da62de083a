package runtime

import (
	"fmt"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Ready returns nil while the monitor answers, else why no container can be run now. It does not wait.
func (r *Runtime) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		return fmt.Errorf("no connection to the monitor: %w", lifecycle.ErrUnavailable)
	}
	return nil
}

package images

import (
	"errors"
	"fmt"

	"github.com/slipway-cri/slipway/agent/images/layers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"golang.org/x/sys/unix" // errno values
)

// blame gives errors of layers the agent's kinds.
func blame(err error) error {
	switch {
	case errors.Is(err, layers.ErrLimit), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", err, lifecycle.ErrExhausted)
	case errors.Is(err, layers.ErrInvalid) && !errors.Is(err, lifecycle.ErrUnavailable):
		return fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	return err
}

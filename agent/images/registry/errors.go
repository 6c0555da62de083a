package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// kind wraps err in the agent's kind for it, naming the image and the step.
func (s *Session) kind(ctx context.Context, step string, err error) error {
	what := s.what(step)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	for _, k := range []error{lifecycle.ErrInvalid, lifecycle.ErrUnsupported, lifecycle.ErrNotFound, lifecycle.ErrUnavailable} {
		if errors.Is(err, k) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	switch code := statusOf(err); {
	case errdefs.IsNotFound(err) || code == http.StatusNotFound:
		return fmt.Errorf("%s: %w: %w", what, err, lifecycle.ErrNotFound)
	case errors.Is(err, docker.ErrInvalidAuthorization), code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("%s: registry %s denies access: no such repository, or it wants credentials that were not given or are wrong: %w: %w",
			what, s.host, err, lifecycle.ErrInvalid)
	case errdefs.IsNotImplemented(err):
		return fmt.Errorf("%s: %w: %w", what, err, lifecycle.ErrUnsupported)
	case errdefs.IsFailedPrecondition(err):
		return fmt.Errorf("%s: the registry sent more than the manifest says: %w: %w", what, err, lifecycle.ErrInvalid)
	}
	return fmt.Errorf("%s: registry %s: %w: %w", what, s.host, err, lifecycle.ErrUnavailable)
}

func statusOf(err error) int {
	var u remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &u) {
		return u.StatusCode
	}
	var s *statusError
	if errors.As(err, &s) {
		return s.code
	}
	return 0
}

// again says whether a stream that broke with err is worth opening again.
func (s *Session) again(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var last *statusError
	if errors.As(err, &last) {
		return false // the transport has tried already
	}
	k := s.kind(ctx, "", err)
	return errors.Is(k, lifecycle.ErrUnavailable)
}

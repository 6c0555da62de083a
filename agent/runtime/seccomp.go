package runtime

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/seccomp"
	"github.com/slipway-cri/slipway/oci/spec"
)

// DefaultProfile is the seccomp profile behind RuntimeDefault for the capabilities of s: the file at path, in
// Docker's JSON form, or with path "" the field's own. The result is shared and must not be changed.
func DefaultProfile(path string, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	if path != "" {
		return FileProfile(path, s)
	}
	return seccomp.Default(s)
}

// FileProfile reads a seccomp profile on this node, at each use since an operator may change it.
func FileProfile(path string, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.FromFile(path, s)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, spec.ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	return p, err
}

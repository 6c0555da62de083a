// Package spec reads an OCI runtime-spec and refuses one that would make a wrong or an
// unsafe container, before anything of the machine is touched. Every error names the
// JSON field ("linux.namespaces[2].type: …") and wraps ErrInvalid or ErrUnsupported.
// It does not plan (oci/plan) and looks at no file system, kernel or clock; its
// functions hold no state and may be called from any goroutine.
package spec

import "errors"

var (
	// ErrInvalid is wrapped by errors about a spec that contradicts the runtime-spec or itself.
	ErrInvalid = errors.New("invalid runtime spec")
	// ErrUnsupported is wrapped by errors about a valid request that Slipway does not carry out.
	ErrUnsupported = errors.New("unsupported by this runtime")
)

package images

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxReference bounds a reference: repository names end at 255 bytes, tags at 128,
// digests at some 140; github.com/distribution/reference.
const maxReference = 1024

// ParseReference normalises what people write ("busybox") to what is stored
// ("docker.io/library/busybox:latest"). With a tag and a digest, the digest counts, as
// Docker and containerd have it. Errors are lifecycle.ErrInvalid.
func ParseReference(ref string) (reference.Named, error) {
	if len(ref) > maxReference {
		return nil, fmt.Errorf("image reference of %d bytes, at most %d: %w", len(ref), maxReference, lifecycle.ErrInvalid)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w: %w", ref, err, lifecycle.ErrInvalid)
	}
	if d, ok := named.(reference.Digested); ok {
		named, err = reference.WithDigest(reference.TrimNamed(named), d.Digest())
		if err != nil {
			return nil, fmt.Errorf("image reference %q: %w: %w", ref, err, lifecycle.ErrInvalid)
		}
		return named, nil
	}
	return reference.TagNameOnly(named), nil
}

// asID says whether ref can only be, or may be, an image id: "sha256:" and hex digits, or
// hex digits alone.
func asID(ref string) (hex string, only bool) {
	hex, only = strings.CutPrefix(ref, "sha256:")
	if len(hex) == 0 || len(hex) > 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	return hex, only || len(hex) == 64
}

package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Bounds on what a registry may make the agent keep in memory.
const (
	MaxManifest = 4 << 20
	MaxConfig   = 4 << 20
	// MaxLayers is what overlayfs takes in one page of options with the store's names.
	MaxLayers = 128
	maxNested = 3 // an index in an index in an index
)

// Docker's media types; distribution's manifest/schema2 documentation.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Contents is an image as its manifest describes it.
type Contents struct {
	Config  []byte
	Layers  []ocispec.Descriptor // bottom first
	DiffIDs []digest.Digest      // of the configuration; as many as Layers
}

// Image follows target (a manifest, or an index to the manifest for this machine) to the
// configuration and the list of layers, all verified.
func (s *Session) Image(ctx context.Context, target ocispec.Descriptor) (*Contents, error) {
	return Walk(target, s.ref.String(), func(d ocispec.Descriptor, limit int64) ([]byte, error) {
		return s.Bytes(ctx, d, limit)
	})
}

// Walk does the same over any source of blobs: read returns the verified bytes of a
// descriptor, at most limit. name is for errors.
func Walk(target ocispec.Descriptor, name string, read func(ocispec.Descriptor, int64) ([]byte, error)) (*Contents, error) {
	match := platforms.Default()
	raw, m, err := manifestFor(target, name, match, read, 0)
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: manifest %s: %w", name, digest.FromBytes(raw), err)
	}
	config, err := read(m.Config, MaxConfig)
	if err != nil {
		return nil, err
	}
	var c ocispec.Image
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("%s: configuration: %w: %w", name, err, lifecycle.ErrInvalid)
	}
	if c.OS != "" && c.Architecture != "" && !match.Match(c.Platform) {
		return nil, fmt.Errorf("%s is for %s, this machine is %s: %w", name, platforms.Format(c.Platform), platforms.DefaultString(), lifecycle.ErrNotFound)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%s: the configuration names %d layers, the manifest %d: %w", name, len(c.RootFS.DiffIDs), len(m.Layers), lifecycle.ErrInvalid)
	}
	return &Contents{Config: config, Layers: m.Layers, DiffIDs: c.RootFS.DiffIDs}, nil
}

// document is either of manifest and index.
type document struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Config        ocispec.Descriptor   `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	FSLayers      json.RawMessage      `json:"fsLayers"` // schema 1
}

func (d *document) check() error {
	if len(d.Layers) > MaxLayers {
		return fmt.Errorf("%d layers, at most %d: %w", len(d.Layers), MaxLayers, lifecycle.ErrInvalid)
	}
	switch d.Config.MediaType {
	case ocispec.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json", "application/octet-stream", "":
	default:
		return fmt.Errorf("its configuration is of type %q, not an image's: %w", d.Config.MediaType, lifecycle.ErrUnsupported)
	}
	for _, l := range append([]ocispec.Descriptor{d.Config}, d.Layers...) {
		if err := checkDigest(l.Digest); err != nil {
			return err
		}
		if l.Size < 0 {
			return fmt.Errorf("blob %s of size %d: %w", l.Digest, l.Size, lifecycle.ErrInvalid)
		}
		if l.Digest.Algorithm() != digest.SHA256 {
			return fmt.Errorf("blob %s: algorithm: %w", l.Digest, lifecycle.ErrUnsupported)
		}
	}
	return nil
}

// asManifest makes sure that a descriptor is fetched as a manifest whatever type the
// registry gave it.
func asManifest(d ocispec.Descriptor) ocispec.Descriptor {
	switch d.MediaType {
	case dockerManifest, dockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex:
	default:
		d.MediaType = ocispec.MediaTypeImageManifest
	}
	return d
}

func schema1(name string) error {
	return fmt.Errorf("%s is an image of Docker's schema 1, which has been out of use since 2019: rebuild it, or convert it (skopeo copy --format oci): %w", name, lifecycle.ErrUnsupported)
}

func manifestFor(d ocispec.Descriptor, name string, match platforms.MatchComparer, read func(ocispec.Descriptor, int64) ([]byte, error), depth int) ([]byte, *document, error) {
	if depth > maxNested {
		return nil, nil, fmt.Errorf("%s: indexes nested over %d deep: %w", name, maxNested, lifecycle.ErrInvalid)
	}
	if d.MediaType == dockerSchema1 || d.MediaType == dockerSigned1 {
		return nil, nil, schema1(name)
	}
	raw, err := read(asManifest(d), MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, nil, fmt.Errorf("%s: manifest %s: %w: %w", name, d.Digest, err, lifecycle.ErrInvalid)
	}
	if doc.SchemaVersion == 1 || doc.FSLayers != nil {
		return nil, nil, schema1(name)
	}
	index := doc.Manifests != nil
	manifest := doc.Config.Digest != ""
	if index == manifest { // a document that is both is read differently by different people: CVE-2021-41190
		return nil, nil, fmt.Errorf("%s: %s is neither an image manifest nor an index: %w", name, d.Digest, lifecycle.ErrInvalid)
	}
	if manifest {
		return raw, &doc, nil
	}
	next, err := choose(doc.Manifests, match)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return manifestFor(next, name, match, read, depth+1)
}

// choose picks the entry for this machine: the best match, else the first that names no
// platform.
func choose(list []ocispec.Descriptor, match platforms.MatchComparer) (ocispec.Descriptor, error) {
	var fit, plain []ocispec.Descriptor
	var have []string
	for _, d := range list {
		switch {
		case d.Annotations["vnd.docker.reference.type"] != "": // BuildKit's attestations
		case d.Platform == nil:
			plain = append(plain, d)
		case match.Match(*d.Platform):
			fit = append(fit, d)
		default:
			have = append(have, platforms.Format(*d.Platform))
		}
	}
	slices.SortStableFunc(fit, func(a, b ocispec.Descriptor) int {
		switch {
		case match.Less(*a.Platform, *b.Platform):
			return -1
		case match.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	if fit = append(fit, plain...); len(fit) > 0 {
		return fit[0], nil
	}
	return ocispec.Descriptor{}, fmt.Errorf("no image for %s in the index, it has %q: %w", platforms.DefaultString(), have, lifecycle.ErrNotFound)
}

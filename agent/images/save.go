package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/images/layers"
	"github.com/slipway-cri/slipway/agent/images/store"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Save implements Service: an OCI layout with a manifest.json beside it. Layers come out
// uncompressed, each byte as it was pulled, so configurations and ids are the same.
func (l *Local) Save(ctx context.Context, w io.Writer, refs ...string) error {
	s := &saver{l: l, ctx: ctx, tw: tar.NewWriter(w), seen: map[string]bool{}}
	user := fmt.Sprintf("save %p", s) // layers stay while they are read
	defer l.store.Release(user)
	for _, ref := range refs {
		img := l.find(ref)
		if img == nil || l.store.Use(img.ID.String(), user) == nil {
			return fmt.Errorf("image %q: %w", ref, lifecycle.ErrNotFound)
		}
		if err := s.image(img, namesFor(img, ref)); err != nil {
			return fmt.Errorf("save %q: %w", ref, err)
		}
	}
	return s.finish()
}

// namesFor is the tag that was asked for, or all when it was asked for by id or digest.
func namesFor(img *store.Image, ref string) []string {
	if named, err := ParseReference(ref); err == nil && slices.Contains(img.Tags, named.String()) {
		return []string{named.String()}
	}
	return img.Tags
}

type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type saver struct {
	l      *Local
	ctx    context.Context
	tw     *tar.Writer
	seen   map[string]bool // names written
	index  []ocispec.Descriptor
	docker []*dockerManifest
}

func (s *saver) image(img *store.Image, names []string) error {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(img.Config))},
		Layers:    []ocispec.Descriptor{},
	}
	d := &dockerManifest{Config: blobPath(img.ID)}
	if err := s.file(d.Config, img.Config); err != nil {
		return err
	}
	for _, layer := range s.l.store.LayersOf(img) {
		if err := s.layer(layer); err != nil {
			return fmt.Errorf("layer %s: %w", layer.DiffID, err)
		}
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.DiffID, Size: layer.TarSize})
		d.Layers = append(d.Layers, blobPath(layer.DiffID))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := s.file(blobPath(desc.Digest), raw); err != nil {
		return err
	}
	s.name(desc, d, names)
	return nil
}

func (s *saver) name(desc ocispec.Descriptor, d *dockerManifest, names []string) {
	for _, n := range names {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			continue // not possible: it was stored normalised
		}
		e := desc
		e.Annotations = map[string]string{"io.containerd.image.name": n}
		if t, ok := named.(reference.Tagged); ok {
			e.Annotations[ocispec.AnnotationRefName] = t.Tag()
		}
		s.index = append(s.index, e)
		d.RepoTags = append(d.RepoTags, reference.FamiliarString(named))
	}
	if len(names) == 0 {
		s.index = append(s.index, desc)
	}
	for _, have := range s.docker {
		if have.Config == d.Config { // a second tag of the same image
			have.RepoTags = append(have.RepoTags, d.RepoTags...)
			return
		}
	}
	s.docker = append(s.docker, d)
}

func (s *saver) finish() error {
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: s.index})
	if err != nil {
		return err
	}
	docker, err := json.Marshal(s.docker)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{ocispec.ImageLayoutFile, layout}, {ocispec.ImageIndexFile, index}, {"manifest.json", docker}} {
		if err := s.file(f.name, f.data); err != nil {
			return err
		}
	}
	return s.tw.Close()
}

// header begins a file, with the directories above it, which docker load wants to see.
// It says whether the file is new.
func (s *saver) header(name string, size int64) (bool, error) {
	if s.seen[name] {
		return false, nil
	}
	if err := s.dir(path.Dir(name)); err != nil {
		return false, err
	}
	s.seen[name] = true
	return true, s.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644})
}

func (s *saver) dir(name string) error {
	if name == "." || s.seen[name] {
		return nil
	}
	if err := s.dir(path.Dir(name)); err != nil {
		return err
	}
	s.seen[name] = true
	return s.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (s *saver) file(name string, data []byte) error {
	fresh, err := s.header(name, int64(len(data)))
	if err != nil || !fresh {
		return err
	}
	_, err = s.tw.Write(data)
	return err
}

func (s *saver) layer(l store.Layer) error {
	fresh, err := s.header(blobPath(l.DiffID), l.TarSize)
	if err != nil || !fresh {
		return err
	}
	root, recipe := s.l.store.Paths(l.Name)
	w := &hashWriter{ctx: s.ctx, w: s.tw, h: sha256.New()}
	if err := layers.Assemble(w, recipe, root); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, w.h); got != l.DiffID {
		return fmt.Errorf("its files have changed: they make %s", got)
	}
	return nil
}

type hashWriter struct {
	ctx context.Context
	w   io.Writer
	h   hash.Hash
}

func (w *hashWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	w.h.Write(p)
	return w.w.Write(p)
}

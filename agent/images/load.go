package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/images/layers"
	"github.com/slipway-cri/slipway/agent/images/registry"
	"github.com/slipway-cri/slipway/agent/images/store"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Bounds on an archive given to Load.
const (
	maxArchiveEntries = 100_000
	maxArchiveBytes   = 256 << 30
)

// Load implements Service. The archive is spooled below the store first: its parts may
// come in any order.
func (l *Local) Load(ctx context.Context, r io.Reader) ([]*Image, error) {
	dir, err := l.store.Stage()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	a, err := spool(ctx, r, dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	hold := l.store.Hold()
	defer hold.Release()
	ld := &loader{l: l, ctx: ctx, a: a, hold: hold}
	if a.has("manifest.json") {
		err = ld.dockerSave()
	} else if a.has("index.json") {
		err = ld.ociLayout()
	} else {
		err = fmt.Errorf("neither manifest.json (docker save) nor index.json (OCI layout) in the archive: %w", lifecycle.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("load: %w", blame(err))
	}
	return ld.images, nil
}

// spooled is an archive's regular files, by their names in it. Names never become paths
// on this machine.
type spooled struct {
	dir   string
	files map[string]string // name → file below dir
	links map[string]string // name → name
}

func spool(ctx context.Context, r io.Reader, dir string) (*spooled, error) {
	plain, err := layers.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	defer plain.Close()
	a := &spooled{dir: dir, files: map[string]string{}, links: map[string]string{}}
	tr := tar.NewReader(plain)
	total := int64(0)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("tar: %w: %w", err, lifecycle.ErrInvalid)
		}
		if total += h.Size; n > maxArchiveEntries || total > maxArchiveBytes || total < 0 {
			return nil, fmt.Errorf("archive of more than %d entries or %d bytes: %w", maxArchiveEntries, int64(maxArchiveBytes), lifecycle.ErrExhausted)
		}
		if err := a.add(ctx, h, tr, strconv.Itoa(n)); err != nil {
			return nil, err
		}
	}
}

func (a *spooled) add(ctx context.Context, h *tar.Header, tr *tar.Reader, file string) error {
	name := path.Clean("/" + h.Name)[1:]
	switch h.Typeflag {
	case tar.TypeReg:
		f, err := os.OpenFile(filepath.Join(a.dir, file), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, ctxReader{ctx, tr})
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		a.files[name] = file
	case tar.TypeSymlink: // docker save before 1.10 shares layers so
		a.links[name] = path.Join("/", path.Dir(name), h.Linkname)[1:]
	case tar.TypeLink:
		a.links[name] = path.Clean("/" + h.Linkname)[1:]
	}
	return nil
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func (a *spooled) has(name string) bool {
	f, err := a.open(name)
	if err == nil {
		f.Close()
	}
	return err == nil
}

func (a *spooled) open(name string) (*os.File, error) {
	name = path.Clean("/" + name)[1:]
	for range 10 {
		if file, ok := a.files[name]; ok {
			return os.Open(filepath.Join(a.dir, file))
		}
		next, ok := a.links[name]
		if !ok {
			break
		}
		name = next
	}
	return nil, fmt.Errorf("%q is not in the archive: %w", name, lifecycle.ErrInvalid)
}

func (a *spooled) bytes(name string, limit int64) ([]byte, error) {
	f, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%q has more than %d bytes: %w", name, limit, lifecycle.ErrInvalid)
	}
	return b, err
}

type loader struct {
	l      *Local
	ctx    context.Context
	a      *spooled
	hold   *store.Hold
	images []*Image
}

// dockerSave follows manifest.json; github.com/moby/docker-image-spec, v1.2.
func (ld *loader) dockerSave() error {
	raw, err := ld.a.bytes("manifest.json", registry.MaxManifest)
	if err != nil {
		return err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("manifest.json: %w: %w", err, lifecycle.ErrInvalid)
	}
	for _, m := range list {
		config, err := ld.a.bytes(m.Config, registry.MaxConfig)
		if err != nil {
			return err
		}
		if err := ld.add(config, m.Layers, nil, m.RepoTags); err != nil {
			return err
		}
	}
	return nil
}

// ociLayout follows index.json; image-spec, image-layout.md.
func (ld *loader) ociLayout() error {
	raw, err := ld.a.bytes("index.json", registry.MaxManifest)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("index.json: %w: %w", err, lifecycle.ErrInvalid)
	}
	var other error // of a manifest that is for another machine
	for _, d := range index.Manifests {
		c, err := registry.Walk(d, d.Digest.String(), ld.blob)
		if errors.Is(err, lifecycle.ErrNotFound) {
			other = err
			continue
		}
		if err != nil {
			return err
		}
		var files []string
		for _, l := range c.Layers {
			files = append(files, blobPath(l.Digest))
		}
		if err := ld.add(c.Config, files, c.Layers, layoutNames(d)); err != nil {
			return err
		}
	}
	if len(ld.images) == 0 && other != nil {
		return other
	}
	return nil
}

// layoutNames is what containerd, Docker and skopeo write: a full name, or only a tag,
// which names nothing.
func layoutNames(d ocispec.Descriptor) []string {
	if n := d.Annotations["io.containerd.image.name"]; n != "" {
		return []string{n}
	}
	if n := d.Annotations[ocispec.AnnotationRefName]; strings.ContainsAny(n, ":/") {
		return []string{n}
	}
	return nil
}

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

func (ld *loader) blob(d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w: %w", d.Digest, err, lifecycle.ErrInvalid)
	}
	b, err := ld.a.bytes(blobPath(d.Digest), limit)
	if err == nil && d.Digest.Algorithm().FromBytes(b) != d.Digest {
		err = fmt.Errorf("blob %s has another digest: %w", d.Digest, lifecycle.ErrInvalid)
	}
	return b, err
}

// add unpacks one image; descs, if known, say the digests of the layers' files.
func (ld *loader) add(config []byte, files []string, descs []ocispec.Descriptor, tags []string) error {
	if len(files) > registry.MaxLayers {
		return fmt.Errorf("%d layers, at most %d: %w", len(files), registry.MaxLayers, lifecycle.ErrInvalid)
	}
	c, err := checkConfig(config, len(files))
	if err != nil {
		return err
	}
	var names []string
	for _, t := range tags {
		ref, err := ParseReference(t)
		if err != nil {
			return err
		}
		if _, ok := ref.(reference.Tagged); ok {
			names = append(names, ref.String())
		}
	}
	var list []*store.Layer
	for i, file := range files {
		layer, _, err := ld.hold.Layer(ld.ctx, c.RootFS.DiffIDs[i], func(dir string) (layers.Result, error) {
			f, err := ld.a.open(file)
			if err != nil {
				return layers.Result{}, err
			}
			res, err := layers.Unpack(ld.ctx, f, dir, layers.Options{Limits: ld.l.o.Limits})
			if err == nil && descs != nil && res.Digest != descs[i].Digest {
				err = fmt.Errorf("blob %s has digest %s: %w", descs[i].Digest, res.Digest, lifecycle.ErrInvalid)
			}
			return res, err
		})
		if err != nil {
			return fmt.Errorf("layer %q: %w", file, err)
		}
		list = append(list, layer)
	}
	first := store.Names{}
	if len(names) > 0 {
		first.Tag = names[0]
	}
	img, err := ld.hold.Commit(ld.ctx, config, list, first)
	for i := 1; i < len(names) && err == nil && img != nil; i++ {
		img, err = ld.l.store.AddNames(img.ID, store.Names{Tag: names[i]})
	}
	if err != nil {
		return err
	}
	if img == nil {
		return fmt.Errorf("image %s was removed meanwhile: %w", digest.FromBytes(config), lifecycle.ErrNotFound)
	}
	ld.images = append(ld.images, viewOf(img))
	return nil
}

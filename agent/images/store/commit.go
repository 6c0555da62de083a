package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Names is what an image is found by beside its id.
type Names struct {
	Tag    string // normalised, "" for none; moves here from another image that has it
	Digest string // repository@digest, "" for none
}

func (s *Store) imagePath(id digest.Digest) string { return s.path(imageDir, id.Encoded()) }

// Commit makes the image of config and layers (bottom first) exist, or gives an existing
// one further names. All layers must be held by h until it returns. The image's record is
// on the disk when it returns.
func (h *Hold) Commit(ctx context.Context, config []byte, list []*Layer, n Names) (*Image, error) {
	list, err := h.fit(ctx, list)
	if err != nil {
		return nil, err
	}
	img := &Image{ID: digest.FromBytes(config), Config: config, Created: time.Now()}
	for _, l := range list {
		img.DiffIDs = append(img.DiffIDs, l.DiffID)
		img.Layers = append(img.Layers, l.Name)
	}
	return h.s.commit(img, n)
}

// AddNames gives the image of id further names; nil when it is gone meanwhile.
func (s *Store) AddNames(id digest.Digest, n Names) (*Image, error) {
	return s.commit(&Image{ID: id}, n)
}

func (s *Store) commit(img *Image, n Names) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index.Load()
	old := x.byID[img.ID]
	switch {
	case old != nil:
		if named(old, n) {
			return old, nil
		}
		c := *old
		c.Tags, c.Digests = slices.Clone(old.Tags), slices.Clone(old.Digests)
		img = &c
	case img.Config == nil:
		return nil, nil
	}
	addSorted(&img.Tags, n.Tag)
	addSorted(&img.Digests, n.Digest)
	img.Named = time.Now()
	if err := s.complete(img); err != nil {
		return nil, err
	}
	if err := writeRecord(s.imagePath(img.ID), "image", img); err != nil {
		return nil, fmt.Errorf("record of image %s: %w", img.ID, err)
	}
	if old == nil {
		s.used.Add(onDisk(int64(len(img.Config))))
		s.inodes.Add(1)
	}
	changed := []*Image{img}
	// The tag leaves its old image after the new one has it: in between the later named has it.
	if prev := x.refs[n.Tag]; n.Tag != "" && prev != nil && prev.ID != img.ID {
		p := *prev
		p.Tags = slices.DeleteFunc(slices.Clone(prev.Tags), func(t string) bool { return t == n.Tag })
		if err := s.complete(&p); err != nil {
			return nil, err
		}
		if err := writeRecord(s.imagePath(p.ID), "image", &p); err != nil {
			return nil, fmt.Errorf("record of image %s: %w", p.ID, err)
		}
		changed = append(changed, &p)
	}
	s.index.Store(x.with(changed...))
	return img, nil
}

func named(img *Image, n Names) bool {
	return (n.Tag == "" || slices.Contains(img.Tags, n.Tag)) && (n.Digest == "" || slices.Contains(img.Digests, n.Digest))
}

func addSorted(list *[]string, v string) {
	if v != "" && !slices.Contains(*list, v) {
		*list = append(*list, v)
		slices.Sort(*list)
	}
}

// Delete removes the image and what only it needed.
func (s *Store) Delete(id digest.Digest) error {
	s.mu.Lock()
	err := s.deleteLocked(id)
	s.mu.Unlock()
	s.Reap()
	return err
}

func (s *Store) deleteLocked(id digest.Digest) error {
	x := s.index.Load()
	img := x.byID[id]
	if img == nil {
		return nil
	}
	if err := os.Remove(s.imagePath(id)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := syncDir(s.path(imageDir)); err != nil {
		return err
	}
	s.used.Add(-onDisk(int64(len(img.Config))))
	s.inodes.Add(-1)
	s.index.Store(x.without([]digest.Digest{id}))
	s.collect()
	return nil
}

// Untag takes one tag or repository digest away. With a repository's last tag its
// digests go, and an image without a name goes with its last one.
func (s *Store) Untag(ref string) error {
	s.mu.Lock()
	err := s.untagLocked(ref)
	s.mu.Unlock()
	s.Reap()
	return err
}

func (s *Store) untagLocked(ref string) error {
	x := s.index.Load()
	old := x.refs[ref]
	if old == nil {
		return nil
	}
	img := *old
	is := func(r string) bool { return r == ref }
	img.Tags = slices.DeleteFunc(slices.Clone(old.Tags), is)
	img.Digests = slices.DeleteFunc(slices.Clone(old.Digests), is)
	if repo := repository(ref); len(img.Tags) < len(old.Tags) && !slices.ContainsFunc(img.Tags, inRepository(repo)) {
		img.Digests = slices.DeleteFunc(img.Digests, inRepository(repo))
	}
	if len(img.Tags)+len(img.Digests) == 0 {
		return s.deleteLocked(old.ID)
	}
	if err := s.complete(&img); err != nil {
		return err
	}
	if err := writeRecord(s.imagePath(img.ID), "image", &img); err != nil {
		return fmt.Errorf("record of image %s: %w", img.ID, err)
	}
	s.index.Store(x.with(&img))
	return nil
}

// repository is a normalised reference without its tag or digest.
func repository(ref string) string {
	if repo, _, ok := strings.Cut(ref, "@"); ok {
		return repo
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i]
	}
	return ref
}

func inRepository(repo string) func(string) bool {
	return func(ref string) bool { return repository(ref) == repo }
}

// LayersOf returns the records of the image's layers, bottom first.
func (s *Store) LayersOf(img *Image) []Layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Layer
	for _, n := range img.Layers {
		if l := s.layers[n]; l != nil {
			out = append(out, *l)
		}
	}
	return out
}

// Paths returns where a layer's root is, and its recipe.
func (s *Store) Paths(name string) (root, recipe string) {
	return s.path(lowerDir, name), s.path(layerDir, name)
}

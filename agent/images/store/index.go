package store

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// index is immutable.
type index struct {
	list []*Image // newest first, then by id
	byID map[digest.Digest]*Image
	refs map[string]*Image // tags and repository digests
	ids  []string          // hex of all ids, sorted, for prefixes
	uses map[string]bool   // names of all images' layers
}

func newIndex(images []*Image) *index {
	x := &index{list: images, byID: make(map[digest.Digest]*Image, len(images)), refs: make(map[string]*Image, 2*len(images)), uses: map[string]bool{}}
	slices.SortFunc(x.list, func(a, b *Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	for _, img := range x.list {
		x.byID[img.ID] = img
		x.ids = append(x.ids, img.ID.Encoded())
		for _, name := range img.Layers {
			x.uses[name] = true
		}
		for _, list := range [][]string{img.Tags, img.Digests} {
			for _, r := range list {
				if prev := x.refs[r]; prev == nil || img.Named.After(prev.Named) {
					x.refs[r] = img
				}
			}
		}
	}
	slices.Sort(x.ids)
	return x
}

// with returns an index in which the given images replace those of the same id.
func (x *index) with(changed ...*Image) *index { return x.without(nil, changed...) }

func (x *index) without(gone []digest.Digest, changed ...*Image) *index {
	list := make([]*Image, 0, len(x.list)+len(changed))
	for _, img := range x.list {
		drop := slices.Contains(gone, img.ID) || slices.ContainsFunc(changed, func(c *Image) bool { return c.ID == img.ID })
		if !drop {
			list = append(list, img)
		}
	}
	return newIndex(append(list, changed...))
}

// List returns all images, newest first. The slice is the index's own: read only.
func (s *Store) List() []*Image { return s.index.Load().list }

// ByRef finds a normalised tag or repository digest.
func (s *Store) ByRef(ref string) *Image { return s.index.Load().refs[ref] }

// ByID finds an id, "sha256:…" or its hex digits.
func (s *Store) ByID(id string) *Image {
	id = strings.TrimPrefix(id, "sha256:")
	return s.index.Load().byID[digest.NewDigestFromEncoded(digest.SHA256, id)]
}

// ByPrefix finds the one image whose id begins with the hex digits; several are none.
func (s *Store) ByPrefix(prefix string) *Image {
	x := s.index.Load()
	prefix = strings.TrimPrefix(prefix, "sha256:")
	i, _ := slices.BinarySearch(x.ids, prefix)
	if prefix == "" || i == len(x.ids) || !strings.HasPrefix(x.ids[i], prefix) {
		return nil
	}
	if i+1 < len(x.ids) && strings.HasPrefix(x.ids[i+1], prefix) {
		return nil
	}
	return x.byID[digest.NewDigestFromEncoded(digest.SHA256, x.ids[i])]
}

// ByTarget finds the image that was pulled by this manifest or index digest from any
// repository.
func (s *Store) ByTarget(d digest.Digest) *Image {
	suffix := "@" + d.String()
	for _, img := range s.index.Load().list {
		if slices.ContainsFunc(img.Digests, func(r string) bool { return strings.HasSuffix(r, suffix) }) {
			return img
		}
	}
	return nil
}

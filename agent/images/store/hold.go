package store

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/slipway-cri/slipway/agent/images/layers"
)

// Hold is one pull's claim on layers: what it found or made stays until Release, even
// though no image has it yet. Its methods may be called concurrently.
type Hold struct {
	s  *Store
	mu sync.Mutex
	// names may repeat: each is one count in Store.held
	names []string
	ended bool
}

// Hold begins a pull. Call Release when its image is committed or given up.
func (s *Store) Hold() *Hold {
	s.flush.pause(1)
	return &Hold{s: s}
}

// layerName is short, so that 128 of them fit one page of mount options, and depends on
// contents alone. 100 bits of a second digest: finding a second layer of another image's
// name is out of reach, and the record says the whole diffID anyway.
func layerName(diffID digest.Digest, variant string) string {
	sum := sha256.Sum256([]byte(diffID.String() + "\x00" + variant))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:20])
}

// Layer returns the layer of diffID, calling unpack for it when there is none: unpack
// fills an empty directory (layers.Unpack) and returns what it made. Concurrent calls for
// one layer run one unpack; those that wait leave when ctx ends.
func (h *Hold) Layer(ctx context.Context, diffID digest.Digest, unpack func(dir string) (layers.Result, error)) (l *Layer, found bool, err error) {
	name := layerName(diffID, "")
	unlock, err := h.s.making.lock(ctx, name)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	l, err = h.claim(name, diffID)
	if l != nil || err != nil {
		return l, true, err
	}
	l, err = h.make(name, diffID, unpack)
	return l, false, err
}

func (h *Hold) claim(name string, diffID digest.Digest) (*Layer, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	l := h.s.layers[name]
	if l == nil {
		return nil, nil
	}
	if l.DiffID != diffID {
		return nil, fmt.Errorf("layers %s and %s have one name %q", l.DiffID, diffID, name)
	}
	h.keep(name)
	return l, nil
}

// keep wants s.mu.
func (h *Hold) keep(name string) {
	h.s.held[name]++
	h.mu.Lock()
	h.names = append(h.names, name)
	h.mu.Unlock()
}

func (h *Hold) make(name string, diffID digest.Digest, unpack func(dir string) (layers.Result, error)) (*Layer, error) {
	stage, err := h.s.Stage()
	if err != nil {
		return nil, err
	}
	res, err := unpack(stage)
	if err == nil && res.DiffID != diffID {
		err = fmt.Errorf("layer has diffID %s, the configuration says %s: %w", res.DiffID, diffID, layers.ErrInvalid)
	}
	if err == nil {
		l := &Layer{DiffID: diffID, Name: name, TarSize: res.TarSize, Size: res.Size, Inodes: res.Inodes, Implicit: res.Implicit}
		if err = h.put(stage, l); err == nil {
			return l, nil
		}
	}
	h.s.remove(stage)
	return nil, err
}

// fit replaces layers by variants where directories that a layer needs but does not
// name have other attributes below it: /tmp must not become 0755 because a layer holds
// tmp/x alone. Layers are shared by contents, what is below them is not.
func (h *Hold) fit(ctx context.Context, list []*Layer) ([]*Layer, error) {
	out := make([]*Layer, len(list))
	var below []string // top-most first
	for i, l := range list {
		out[i] = l
		if len(l.Implicit) > 0 && len(below) > 0 {
			attrs, err := layers.InheritedAttrs(h.s.Base(), below, l.Implicit)
			if err == nil && len(attrs) > 0 {
				out[i], err = h.variant(ctx, l, attrs)
			}
			if err != nil {
				return nil, fmt.Errorf("layer %s: %w", l.DiffID, err)
			}
		}
		below = append([]string{out[i].Name}, below...)
	}
	return out, nil
}

func (h *Hold) variant(ctx context.Context, l *Layer, attrs []layers.DirAttr) (*Layer, error) {
	name := layerName(l.DiffID, fmt.Sprint(attrs))
	unlock, err := h.s.making.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if v, err := h.claim(name, l.DiffID); v != nil || err != nil {
		return v, err
	}
	stage, err := h.s.Stage()
	if err != nil {
		return nil, err
	}
	v := *l
	v.Name = name
	root, recipe := h.s.Paths(l.Name)
	if v.Size, v.Inodes, err = layers.Variant(stage, root, recipe, attrs); err == nil {
		// The files are the other's, which may be gone before this one is.
		v.Size, v.Inodes = max(v.Size, l.Size), max(v.Inodes, l.Inodes)
		err = h.put(stage, &v)
	}
	if err != nil {
		h.s.remove(stage)
		return nil, err
	}
	return &v, nil
}

// put moves a finished layer from its stage to its place. The record goes with the
// directory of the recipe, last: without it the layer does not exist.
func (h *Hold) put(stage string, l *Layer) error {
	s := h.s
	l.Boot = s.boot
	data, err := encodeRecord("layer", l)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, recordFile), data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(stage, layers.RootDir), s.path(lowerDir, l.Name)); err != nil {
		return err
	}
	if err := os.Rename(stage, s.path(layerDir, l.Name)); err != nil {
		s.remove(s.path(lowerDir, l.Name))
		return err
	}
	s.mu.Lock()
	s.layers[l.Name] = l
	s.account(l, 1)
	h.keep(l.Name)
	s.mu.Unlock()
	s.flush.add(l.Name)
	return nil
}

// Release ends the claims; layers that no image took are removed.
func (h *Hold) Release() {
	h.mu.Lock()
	names, ended := h.names, h.ended
	h.names, h.ended = nil, true
	h.mu.Unlock()
	h.s.unhold(names)
	if !ended {
		h.s.flush.pause(-1)
	}
}

// Stage makes an empty directory below tmp, gone at the next start if not before.
func (s *Store) Stage() (string, error) {
	s.mu.Lock()
	s.tmpSeq++
	dir := s.path(tmpDir, "pull-"+strconv.Itoa(s.tmpSeq))
	s.mu.Unlock()
	return dir, os.Mkdir(dir, 0o700)
}

// keyed is a lock per key whose waiters can leave.
type keyed struct {
	mu sync.Mutex
	m  map[string]*keyedLock
}

type keyedLock struct {
	ch   chan struct{} // holds one token while unlocked
	refs int
}

func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.m == nil {
		k.m = map[string]*keyedLock{}
	}
	l := k.m[key]
	if l == nil {
		l = &keyedLock{ch: make(chan struct{}, 1)}
		l.ch <- struct{}{}
		k.m[key] = l
	}
	l.refs++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		if l.refs--; l.refs == 0 {
			delete(k.m, key)
		}
		k.mu.Unlock()
	}
	select {
	case <-l.ch:
		return func() { l.ch <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

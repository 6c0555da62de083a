package images

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/images/registry"
	"github.com/slipway-cri/slipway/agent/images/store"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Local is the Service over a store on this machine.
type Local struct {
	o      Options
	store  *store.Store
	pinned []string

	mu      sync.Mutex
	pulls   map[string]*flight // those that can be joined
	running map[*flight]bool   // also those that everybody has left
	flights sync.WaitGroup
	counts  pullCounts
	// fetch is the registry's behaviour; tests shorten its pauses.
	fetch registry.Options
}

var _ Service = (*Local)(nil)

// New opens the store, which no other process may have open, and removes what an earlier
// run left unfinished. Close it.
func New(o Options) (*Local, error) {
	l := &Local{o: o, pulls: map[string]*flight{}, running: map[*flight]bool{}, fetch: registry.Options{CertsDir: o.CertsDir}}
	if l.o.ParallelLayers == 0 {
		l.o.ParallelLayers = 4
	}
	for _, p := range o.Pinned {
		ref, err := ParseReference(p)
		if err != nil {
			return nil, fmt.Errorf("pinned images: %w", err)
		}
		l.pinned = append(l.pinned, ref.String())
	}
	s, err := store.Open(store.Options{Dir: o.Dir, View: l.view})
	if err != nil {
		return nil, err
	}
	l.store = s
	return l, nil
}

// Close ends pulls under way (begin none after it) and waits for what runs in the background.
func (l *Local) Close() error {
	l.mu.Lock()
	for f := range l.running {
		f.cancel(fmt.Errorf("the agent is ending: %w", lifecycle.ErrUnavailable))
	}
	l.mu.Unlock()
	l.flights.Wait()
	return l.store.Close()
}

// view makes the snapshot that callers get of a stored image.
func (l *Local) view(img *store.Image) (any, error) {
	v := &Image{
		ID:          img.ID.String(),
		RepoTags:    img.Tags,
		RepoDigests: img.Digests,
		Size:        img.Size,
		Created:     img.Created,
		Pinned:      slices.ContainsFunc(img.Tags, l.isPinned) || slices.ContainsFunc(img.Digests, l.isPinned),
	}
	if err := json.Unmarshal(img.Config, &v.Config); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return v, nil
}

func (l *Local) isPinned(ref string) bool { return slices.Contains(l.pinned, ref) }

func viewOf(img *store.Image) *Image { return img.View.(*Image) }

// find resolves a reference as Service says: an id, a name, then a unique id prefix.
func (l *Local) find(ref string) *store.Image {
	hex, only := asID(ref)
	if hex != "" && len(hex) == 64 {
		if img := l.store.ByID(hex); img != nil || only {
			return img
		}
	}
	if !only {
		if named, err := ParseReference(ref); err == nil {
			if img := l.store.ByRef(named.String()); img != nil {
				return img
			}
		}
	}
	if hex != "" {
		return l.store.ByPrefix(hex)
	}
	return nil
}

// Get implements Service.
func (l *Local) Get(ref string) (*Image, error) {
	img := l.find(ref)
	if img == nil {
		return nil, fmt.Errorf("image %q: %w", ref, lifecycle.ErrNotFound)
	}
	return viewOf(img), nil
}

// List implements Service; newest first.
func (l *Local) List() []*Image {
	list := l.store.List()
	out := make([]*Image, len(list))
	for i, img := range list {
		out[i] = viewOf(img)
	}
	return out
}

// Remove implements Service. A pull of the same image under way is not ended by it.
func (l *Local) Remove(_ context.Context, ref string) error {
	img := l.find(ref)
	if img == nil {
		return nil
	}
	if named, err := ParseReference(ref); err == nil {
		name := named.String()
		if slices.Contains(img.Tags, name) || slices.Contains(img.Digests, name) {
			return l.store.Untag(name)
		}
	}
	return l.store.Delete(img.ID)
}

// FSInfo implements Service. The figures are kept as images come and go.
func (l *Local) FSInfo() (FSInfo, error) {
	used, inodes := l.store.Used()
	return FSInfo{Mountpoint: l.o.Dir, UsedBytes: uint64(max(used, 0)), Inodes: uint64(max(inodes, 0)), At: time.Now()}, nil
}

// Use implements Service.
func (l *Local) Use(id, user string) (*Rootfs, error) {
	names := l.store.Use(id, user)
	if names == nil {
		return nil, fmt.Errorf("image %q: %w", id, lifecycle.ErrNotFound)
	}
	return &Rootfs{Base: l.store.Base(), Lower: names, Empty: store.EmptyLower}, nil
}

// Release implements Service.
func (l *Local) Release(user string) { l.store.Release(user) }

// checkConfig parses and validates an untrusted configuration of layers layers.
func checkConfig(raw []byte, layers int) (*ocispec.Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("image configuration: %w: %w", err, lifecycle.ErrInvalid)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return nil, fmt.Errorf("image configuration names %d layers, the manifest %d: %w", len(c.RootFS.DiffIDs), layers, lifecycle.ErrInvalid)
	}
	for _, d := range c.RootFS.DiffIDs {
		if d.Validate() != nil || d.Algorithm() != "sha256" {
			return nil, fmt.Errorf("image configuration: diffID %q: %w", d, lifecycle.ErrInvalid)
		}
	}
	return &c, nil
}

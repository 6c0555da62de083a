package images

import (
	"context"
	"fmt"
	"sync"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/images/layers"
	"github.com/slipway-cri/slipway/agent/images/registry"
	"github.com/slipway-cri/slipway/agent/images/store"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"golang.org/x/sync/errgroup"
)

// pull is the one run behind all concurrent callers of Pull.
func (l *Local) pull(ctx context.Context, ref reference.Named, auth *Auth, p Progress) (*Image, error) {
	p(Step{Phase: "resolving"})
	s, err := registry.Open(ctx, ref, credentials(auth), l.fetch)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	target, err := s.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	names, err := namesOf(ref, target)
	if err != nil {
		return nil, err
	}
	if have := l.store.ByTarget(target.Digest); have != nil {
		img, err := l.store.AddNames(have.ID, names)
		if err != nil {
			return nil, err
		}
		if img != nil {
			p(Step{Phase: "exists"})
			return viewOf(img), nil
		}
	}
	c, err := s.Image(ctx, target)
	if err != nil {
		return nil, err
	}
	if _, err := checkConfig(c.Config, len(c.Layers)); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	hold := l.store.Hold()
	defer hold.Release()
	list, err := l.pullLayers(ctx, s, hold, c, p)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	img, err := hold.Commit(ctx, c.Config, list, names)
	if err != nil {
		return nil, err
	}
	p(Step{Phase: "done"})
	return viewOf(img), nil
}

func credentials(a *Auth) *registry.Credentials {
	if a == nil {
		return nil
	}
	return &registry.Credentials{Username: a.Username, Password: a.Password, Auth: a.Auth,
		ServerAddress: a.ServerAddress, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

func namesOf(ref reference.Named, target ocispec.Descriptor) (store.Names, error) {
	n := store.Names{}
	if _, ok := ref.(reference.Tagged); ok {
		n.Tag = ref.String()
	}
	d, err := reference.WithDigest(reference.TrimNamed(ref), target.Digest)
	if err != nil {
		return n, fmt.Errorf("%s: %w: %w", ref, err, lifecycle.ErrInvalid)
	}
	n.Digest = d.String()
	return n, nil
}

// pullLayers fetches and unpacks what is not there, several at once, from the largest
// layer's point of view: in the manifest's order, as registries serve them.
func (l *Local) pullLayers(ctx context.Context, s *registry.Session, hold *store.Hold, c *registry.Contents, p Progress) ([]*store.Layer, error) {
	list := make([]*store.Layer, len(c.Layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(l.o.ParallelLayers)
	for i, desc := range c.Layers {
		g.Go(func() error {
			layer, found, err := hold.Layer(ctx, c.DiffIDs[i], func(dir string) (layers.Result, error) {
				return l.unpack(ctx, s, desc, dir, p)
			})
			if err != nil {
				return fmt.Errorf("layer %s: %w", desc.Digest, blame(err))
			}
			phase := "done"
			if found {
				phase = "exists"
			}
			p(Step{Layer: desc.Digest.String(), Phase: phase, Current: desc.Size, Total: desc.Size})
			list[i] = layer
			return nil
		})
	}
	return list, g.Wait()
}

func (l *Local) unpack(ctx context.Context, s *registry.Session, desc ocispec.Descriptor, dir string, p Progress) (layers.Result, error) {
	var mu sync.Mutex
	told := int64(0)
	tell := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		// A call for each half MiB is enough for a progress bar.
		if n-told < 512<<10 && n < desc.Size {
			return
		}
		told = n
		p(Step{Layer: desc.Digest.String(), Phase: "downloading", Current: n, Total: desc.Size})
	}
	p(Step{Layer: desc.Digest.String(), Phase: "downloading", Total: desc.Size})
	res, err := layers.Unpack(ctx, s.Open(ctx, desc), dir, layers.Options{Limits: l.o.Limits, Progress: tell})
	if err != nil {
		return res, err
	}
	if res.Digest != desc.Digest {
		return res, fmt.Errorf("the registry sent %s: %w", res.Digest, lifecycle.ErrInvalid)
	}
	l.counts.bytes.Add(uint64(desc.Size))
	return res, nil
}

package containers

import (
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/runtime"
)

// volumeImages finds the images that a request mounts (KEP-4639). They must be there: pulling
// them is the caller's, as for the container's own.
func (c *Containers) volumeImages(mounts []*runtimeapi.Mount) ([]VolumeImage, error) {
	var out []VolumeImage
	for i, m := range mounts {
		if m.GetImage() == nil {
			continue
		}
		image, err := c.o.Images.Get(m.GetImage().GetImage())
		if err != nil {
			return nil, fmt.Errorf("config.mounts[%d].image: %w", i, err)
		}
		out = append(out, VolumeImage{Mount: i, ID: image.ID})
	}
	return out, nil
}

// useVolumes holds the layers of the volumes' images in the container's name, beside its own.
func (c *Containers) useVolumes(k *creation) error {
	for _, v := range k.volumes {
		root, err := c.o.Images.Use(v.ID, k.e.ID)
		if err != nil {
			c.o.Images.Release(k.e.ID)
			return fmt.Errorf("config.mounts[%d].image: %w", v.Mount, err)
		}
		if k.volumeRoots == nil {
			k.volumeRoots = map[string]runtime.Layers{}
		}
		names := root.Lower
		if len(names) == 1 { // an overlay needs two
			names = append(names[:1:1], root.Empty)
		}
		k.volumeRoots[v.ID] = runtime.Layers{Base: root.Base, Names: names}
	}
	return nil
}

// volumeIDs are the images' ids by the index of their mount.
func (k *creation) volumeIDs() []string {
	if len(k.volumes) == 0 {
		return nil
	}
	ids := make([]string, len(k.cfg.GetMounts()))
	for _, v := range k.volumes {
		ids[v.Mount] = v.ID
	}
	return ids
}

// volumeLayers says for each image volume of the spec what is mounted there.
func (k *creation) volumeLayers() map[string]runtime.Layers {
	var out map[string]runtime.Layers
	for _, v := range k.built.ImageVolumes {
		if out == nil {
			out = map[string]runtime.Layers{}
		}
		l := k.volumeRoots[v.Image]
		l.SubPath = v.SubPath
		out[v.Destination] = l
	}
	return out
}

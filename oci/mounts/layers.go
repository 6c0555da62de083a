package mounts

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

// takeLayers makes the sources of mounts that have Layers, from the host's view, before the
// root exists: it may cover a directory of theirs.
func (x *Executor) takeLayers(list []initconf.Mount) error {
	for i := range list {
		if m := &list[i]; len(m.Layers) > 0 && m.SourceFD == 0 {
			tree, err := x.layers(m)
			if err != nil {
				return err
			}
			x.sources[i] = tree
		}
	}
	return nil
}

// layers mounts the overlay over one of its own directories, for a moment and in this mount
// namespace only, and clones what is wanted of it. An overlay without an upper directory is
// read-only in itself: no remount from inside makes it writable, as it would a bind of a layer.
func (x *Executor) layers(m *initconf.Mount) (tree int, err error) {
	target := m.LayerBase + "/" + m.Layers[0]
	r := &initconf.Root{LowerBase: m.LayerBase, Lower: m.Layers, OverlayOptions: m.Data}
	if err := x.overlay(m.Destination, r, target); err != nil {
		return -1, err
	}
	fail := func(message string, err error) error {
		return &Error{Step: "image volume", Path: m.Destination, Message: message, Err: err}
	}
	tree, err = x.subTree(target, m.SubPath)
	if err != nil {
		return -1, fail(m.SubPath, err)
	}
	if err := x.k.Unmount(target); err != nil {
		return -1, fail(target, err)
	}
	return tree, nil
}

// subTree clones what sub names below the directory target; no link leads out of it.
func (x *Executor) subTree(target, sub string) (int, error) {
	dir, err := x.k.Open(unix.AT_FDCWD, target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer x.k.Close(dir)
	if sub == "" {
		return x.k.Tree(dir, "", false)
	}
	fd, err := x.k.Open(dir, sub, unix.O_PATH, kernel.InRoot)
	if err != nil {
		return -1, err
	}
	defer x.k.Close(fd)
	return x.k.Tree(fd, "", false)
}

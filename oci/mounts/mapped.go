package mounts

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

// Mapped makes what a process in the user namespace userns has no right to make: the overlays
// of the root and of mounts with Layers, over id-mapped layers. It sets FD and SourceFD to
// detached mounts, also on error; they are the caller's. It works for a thread in a mount
// namespace of its own, with the node's rights, and covers the layers' directories in it.
//
// Overlayfs cannot be id-mapped itself, its lower layers can (Linux 5.19). The upper directory is
// not: overlayfs works in it and beside it as who mounted it, whose id such a mount has no
// place for (EOVERFLOW). So its files have the node's ids on disk, and the directory
// itself is to be given to the root inside beforehand.
func Mapped(k Kernel, c *initconf.Config, userns int) error {
	x := New(k, Cgroups{})
	slave := kernel.MountAttr{Propagation: unix.MS_SLAVE, Recursive: true}
	if err := k.SetAttr(unix.AT_FDCWD, "/", slave); err != nil {
		return &Error{Step: "propagation", Path: "/", Err: err}
	}
	covered := map[string]bool{}
	cover := func(dir string) error {
		if covered[dir] {
			return nil
		}
		covered[dir] = true
		return x.cover(dir, userns)
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if len(m.Layers) == 0 {
			continue
		}
		if err := cover(m.LayerBase); err != nil {
			return err
		}
		tree, err := x.layers(m)
		if err != nil {
			return err
		}
		m.SourceFD = tree
	}
	r := &c.Root
	if len(r.Lower) == 0 {
		tree, err := x.clone(r.Bind, userns)
		if err == nil {
			r.FD = tree
		}
		return err
	}
	if err := cover(r.LowerBase); err != nil {
		return err
	}
	if err := x.overlay("/", r, r.Upper); err != nil {
		return err
	}
	tree, err := k.Tree(unix.AT_FDCWD, r.Upper, false)
	if err != nil {
		return &Error{Step: "overlay", Path: "/", Message: r.Upper, Err: err}
	}
	r.FD = tree
	return nil
}

// cover mounts an id-mapped clone of dir on dir.
func (x *Executor) cover(dir string, userns int) error {
	tree, err := x.clone(dir, userns)
	if err != nil {
		return err
	}
	defer x.k.Close(tree)
	at, err := x.k.Open(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return &Error{Step: "id-mapped mount", Path: dir, Err: err}
	}
	defer x.k.Close(at)
	if err := x.k.Attach(tree, at); err != nil {
		return &Error{Step: "id-mapped mount", Path: dir, Err: err}
	}
	return nil
}

func (x *Executor) clone(dir string, userns int) (int, error) {
	tree, err := x.k.Tree(unix.AT_FDCWD, dir, false)
	if err != nil {
		return -1, &Error{Step: "id-mapped mount", Path: dir, Err: err}
	}
	if err := MapIDs(x.k, tree, userns); err != nil {
		x.k.Close(tree)
		return -1, &Error{Step: "id-mapped mount", Path: dir, Err: err}
	}
	return tree, nil
}

// MapIDs makes a detached mount show its files' ids through the user namespace userns
// (mount_setattr(2), MOUNT_ATTR_IDMAP). EINVAL: the file system cannot.
func MapIDs(k Kernel, tree, userns int) error {
	return k.SetAttr(tree, "", kernel.MountAttr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: uint64(userns)})
}

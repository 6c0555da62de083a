package mounts

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kernel"
)

// readonly turns what p names, and all mounted below it, read-only. What does not exist
// needs no protection.
func (x *Executor) readonly(p string) error {
	at, err := x.lookup(p)
	if missing(err) {
		return nil
	}
	if err != nil {
		return &Error{Step: "readonly", Path: p, Err: err}
	}
	defer x.k.Close(at)
	tree, err := x.k.Tree(at, "", true)
	if err != nil {
		return &Error{Step: "readonly", Path: p, Err: err}
	}
	defer x.k.Close(tree)
	if err := x.k.SetAttr(tree, "", kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY, Recursive: true}); err != nil {
		return &Error{Step: "readonly", Path: p, Err: err}
	}
	if err := x.k.Attach(tree, at); err != nil {
		return &Error{Step: "readonly", Path: p, Err: err}
	}
	return nil
}

// maskPath hides a file behind the null device and a directory behind an empty
// read-only one.
func (x *Executor) maskPath(p string) error {
	at, err := x.lookup(p)
	if missing(err) {
		return nil
	}
	if err != nil {
		return &Error{Step: "mask", Path: p, Err: err}
	}
	defer x.k.Close(at)
	if err := x.hide(at); err != nil {
		return &Error{Step: "mask", Path: p, Err: err}
	}
	return nil
}

func (x *Executor) hide(at int) error {
	st, err := x.k.Stat(at)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return x.hideDirectory(at)
	}
	tree, err := x.k.Tree(x.null, "", false)
	if err != nil {
		return err
	}
	defer x.k.Close(tree)
	return x.k.Attach(tree, at)
}

// hideDirectory makes one empty file system for all masked directories of a container;
// the second and later ones are clones of the first.
func (x *Executor) hideDirectory(at int) error {
	if x.mask >= 0 {
		tree, err := x.k.Tree(x.mask, "", false)
		if err != nil {
			return err
		}
		defer x.k.Close(tree)
		return x.k.Attach(tree, at)
	}
	tree, err := x.k.Filesystem("tmpfs", "tmpfs", nil,
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	x.mask = tree
	return x.k.Attach(tree, at)
}

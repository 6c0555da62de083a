package mounts

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kernel"
)

// Linux is the real kernel.
type Linux struct{}

var _ Kernel = Linux{}

// Open is openat2.
func (Linux) Open(dir int, path string, flags int, resolve uint64) (int, error) {
	return kernel.Open(dir, path, flags, 0, resolve)
}

// Make is mkdirat, mknodat or symlinkat; the umask must be 0.
func (Linux) Make(dir int, name string, n Node) error {
	var err error
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return kernel.Symlinkat(n.Target, dir, name)
	case unix.S_IFDIR:
		err = kernel.Mkdirat(dir, name, n.Mode&0o7777)
	default:
		err = kernel.Mknodat(dir, name, n.Mode, n.Dev)
	}
	if err != nil || n.UID == 0 && n.GID == 0 {
		return err
	}
	return kernel.Lchownat(dir, name, n.UID, n.GID)
}

// Tree is open_tree(OPEN_TREE_CLONE).
func (Linux) Tree(dir int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return kernel.OpenTree(dir, path, flags)
}

// Filesystem is fsopen, fsconfig and fsmount.
func (Linux) Filesystem(fstype, source string, options []kernel.Option, attrs int) (int, error) {
	return kernel.Filesystem(fstype, source, options, attrs)
}

// Overlay is mount(2) with base as the working directory, which lower layers are relative to.
func (Linux) Overlay(base, target, options string) error {
	if err := kernel.Chdir(base); err != nil {
		return err
	}
	return kernel.Mount("overlay", target, "overlay", 0, options)
}

// Unmount is umount2(MNT_DETACH).
func (Linux) Unmount(target string) error { return kernel.UnmountTop(target) }

// Attach is move_mount.
func (Linux) Attach(tree, at int) error { return kernel.MoveMount(tree, at) }

// SetAttr is mount_setattr.
func (Linux) SetAttr(dir int, path string, a kernel.MountAttr) error {
	return kernel.MountSetattr(dir, path, a)
}

// Pivot is pivot_root and the end of the old root.
func (Linux) Pivot(root int) error { return kernel.PivotRoot(root) }

// Stat is fstat.
func (Linux) Stat(fd int) (unix.Stat_t, error) { return kernel.Stat(fd) }

// Magic is fstatfs.
func (Linux) Magic(fd int) (int64, error) { return kernel.Magic(fd) }

// Readlink is readlinkat on the link itself.
func (Linux) Readlink(fd int) (string, error) { return kernel.Readlinkat(fd, "") }

// CopyUp copies a directory's content.
func (Linux) CopyUp(from, to int) error { return copyUp(from, to) }

// Close closes.
func (Linux) Close(fd int) { kernel.Close(fd) }

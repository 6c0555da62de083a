package kernel

import (
	"golang.org/x/sys/unix"
)

// OpenTree is open_tree(2) (Linux 5.2). With OPEN_TREE_CLONE the result is a detached
// copy of the mount, or with AT_RECURSIVE of all below it too. An empty path means dir itself.
func OpenTree(dir int, path string, flags uint) (int, error) {
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := retryFD(func() (int, error) {
		return unix.OpenTree(dir, path, flags|unix.OPEN_TREE_CLOEXEC)
	})
	return fd, wrap("open_tree", path, err)
}

// MoveMount attaches the mount that tree is the root of to the very file that at is
// open on: no path is looked up (move_mount(2), Linux 5.2).
func MoveMount(tree, at int) error {
	err := retry(func() error {
		return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	})
	return wrap("move_mount", "", err)
}

// Option is one parameter of a new file system: "key=value", or a flag without Value.
type Option struct {
	Key, Value string
	Flag       bool
}

// Filesystem makes a new instance of a file system and returns a detached mount of it
// (fsopen, fsconfig, fsmount(2), Linux 5.2). Attrs are MOUNT_ATTR_*.
func Filesystem(fstype, source string, options []Option, attrs int) (int, error) {
	ctx, err := retryFD(func() (int, error) { return unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC) })
	if err != nil {
		return -1, wrap("fsopen", fstype, err)
	}
	defer Close(ctx)
	if source != "" {
		if err := unix.FsconfigSetString(ctx, "source", source); err != nil {
			return -1, wrap("fsconfig source", source, err)
		}
	}
	for _, o := range options {
		if o.Flag {
			err = unix.FsconfigSetFlag(ctx, o.Key)
		} else {
			err = unix.FsconfigSetString(ctx, o.Key, o.Value)
		}
		if err != nil {
			return -1, wrap("fsconfig "+fstype, o.Key, err)
		}
	}
	if err := retry(func() error { return unix.FsconfigCreate(ctx) }); err != nil {
		return -1, wrap("fsconfig create", fstype, err)
	}
	fd, err := retryFD(func() (int, error) { return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs) })
	return fd, wrap("fsmount", fstype, err)
}

// MountAttr is what MountSetattr changes: MOUNT_ATTR_* to set and clear, one MS_PRIVATE,
// MS_SLAVE, MS_SHARED or MS_UNBINDABLE or 0, and a user namespace for MOUNT_ATTR_IDMAP.
type MountAttr struct {
	Set, Clear, Propagation, UserNS uint64
	Recursive                       bool
}

// MountSetattr changes the mount that path (or with "" dir itself) is the root of
// (mount_setattr(2), Linux 5.12). What it does not name stays, so locked flags are kept.
func MountSetattr(dir int, path string, a MountAttr) error {
	flags := uint(0)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if a.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear, Propagation: a.Propagation, Userns_fd: a.UserNS}
	return wrap("mount_setattr", path, retry(func() error { return unix.MountSetattr(dir, path, flags, &attr) }))
}

// Mount is mount(2), for what the calls above cannot: overlay takes layer lists longer
// than the 256 bytes that fsconfig allows a value before Linux 6.5.
func Mount(source, target, fstype string, flags uintptr, data string) error {
	return wrap("mount", target, retry(func() error { return unix.Mount(source, target, fstype, flags, data) }))
}

// UnmountTop takes away the topmost mount on path, lazily, without following a link there.
func UnmountTop(path string) error {
	return wrap("umount", path, retry(func() error { return unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }))
}

// PivotRoot makes the directory root the root of the mount namespace and lets go of all
// that was there before. The old root is stacked on the new one for a moment, so that no
// directory for it is needed (pivot_root(2), "pivot_root(".", ".")").
func PivotRoot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return wrap("fchdir", "", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return wrap("pivot_root", "", err)
	}
	// The working directory is the new root still; the old one lies on top of "/".
	if err := retry(func() error { return unix.Unmount(".", unix.MNT_DETACH) }); err != nil {
		return wrap("umount", "/", err)
	}
	return wrap("chdir", "/", unix.Chdir("/"))
}

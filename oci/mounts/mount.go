package mounts

import (
	"errors"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errNotMapped = errors.New("its ids are to be mapped and nobody has done so")

var errFlags = errors.New("mount flags that init does not know")

// attrBits are the MS_* flags that are attributes of a mount (mount_setattr(2)). Those of
// access time are one field and treated apart.
var attrBits = []struct{ ms, attr uint64 }{
	{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
	{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
	{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
	{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
	{unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
	{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
}

const (
	atimeFlags = unix.MS_NOATIME | unix.MS_STRICTATIME | unix.MS_RELATIME
	knownFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NODIRATIME |
		unix.MS_NOSYMFOLLOW | atimeFlags | unix.MS_BIND | unix.MS_REC | unix.MS_SILENT |
		unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_MANDLOCK | unix.MS_LAZYTIME
)

// attributes turns MS_* flags into mount attributes.
func attributes(flags, clear uint64) kernel.MountAttr {
	var a kernel.MountAttr
	for _, b := range attrBits {
		if flags&b.ms != 0 {
			a.Set |= b.attr
		}
		if clear&b.ms != 0 {
			a.Clear |= b.attr
		}
	}
	if flags&atimeFlags != 0 {
		a.Clear |= unix.MOUNT_ATTR__ATIME
	}
	switch {
	case flags&unix.MS_NOATIME != 0:
		a.Set |= unix.MOUNT_ATTR_NOATIME
	case flags&unix.MS_STRICTATIME != 0:
		a.Set |= unix.MOUNT_ATTR_STRICTATIME
	}
	return a
}

// superblock are the flags that belong to the file system and not to the mount.
func superblock(flags uint64) []kernel.Option {
	var out []kernel.Option
	for _, b := range []struct {
		ms  uint64
		key string
	}{{unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}, {unix.MS_MANDLOCK, "mand"}, {unix.MS_LAZYTIME, "lazytime"}} {
		if flags&b.ms != 0 {
			out = append(out, kernel.Option{Key: b.key, Flag: true})
		}
	}
	return out
}

// mount makes one mount; source is the clone of a bind, -1 if it is passed over.
func (x *Executor) mount(m *initconf.Mount, source int) error {
	fail := func(err error) error {
		e := &Error{Step: "mount", Path: m.Destination, Message: m.Type, Err: err}
		if isBind(m) {
			e.Step, e.Message = "bind", "source "+m.Source
		}
		return e
	}
	if path.Clean("/"+m.Destination) == "/" {
		return fail(syscall.EINVAL) // the root is Root's
	}
	if m.Flags&^knownFlags != 0 {
		return fail(errFlags)
	}
	if m.CgroupView {
		if err := x.cgroupView(m); err != nil {
			return fail(err)
		}
		return nil
	}
	if isBind(m) || len(m.Layers) > 0 || m.SourceFD != 0 {
		if source < 0 {
			return nil
		}
		if err := x.bind(m, source); err != nil {
			return fail(err)
		}
		return nil
	}
	if err := x.filesystem(m); err != nil {
		return fail(err)
	}
	return nil
}

// bind sets the attributes while the clone is still detached, so that it is at no moment
// reachable with fewer restrictions. Attributes that are not named stay as the source has
// them; mount_setattr refuses to clear locked ones.
func (x *Executor) bind(m *initconf.Mount, tree int) error {
	st, err := x.k.Stat(tree)
	if err != nil {
		return err
	}
	if a := attributes(m.Flags, m.ClearFlags); a.Set|a.Clear != 0 {
		if err := x.k.SetAttr(tree, "", a); err != nil {
			return err
		}
	}
	if err := x.extraAttributes(m, tree); err != nil {
		return err
	}
	at, err := x.destination(m.Destination, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	if err := x.k.Attach(tree, at); err != nil {
		return err
	}
	defer x.k.Close(tree)
	return x.setPropagation(m, tree)
}

// extraAttributes are the recursive ones (rro).
func (x *Executor) extraAttributes(m *initconf.Mount, tree int) error {
	if m.RecAttrSet|m.RecAttrClear != 0 {
		a := kernel.MountAttr{Set: m.RecAttrSet, Clear: m.RecAttrClear, Recursive: true}
		if err := x.k.SetAttr(tree, "", a); err != nil {
			return err
		}
	}
	if m.Mapped && m.SourceFD == 0 {
		return errNotMapped
	}
	return nil
}

func (x *Executor) setPropagation(m *initconf.Mount, tree int) error {
	for _, p := range m.Propagation {
		if x.private && p&unix.MS_PRIVATE != 0 && !propagates(m) {
			continue // it is already, and most mounts ask for it
		}
		if err := x.propagate(tree, "", p); err != nil {
			return err
		}
	}
	return nil
}

// filesystem mounts a new file system. A tmpfs becomes read-only only in Finish: devices
// and later mounts' destinations are still to be made in it.
func (x *Executor) filesystem(m *initconf.Mount) error {
	at, err := x.destination(m.Destination, true)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	a := attributes(m.Flags, 0)
	deferred := a.Set & unix.MOUNT_ATTR_RDONLY
	if m.Type != "tmpfs" {
		deferred = 0
	}
	source := m.Source
	if source == "" {
		source = m.Type
	}
	options := append(splitOptions(m.Data), superblock(m.Flags)...)
	tree, err := x.k.Filesystem(m.Type, source, options, int(a.Set&^deferred))
	if err != nil {
		return err
	}
	if m.CopyUp {
		if err := x.k.CopyUp(at, tree); err != nil {
			return err
		}
	}
	if err := x.extraAttributes(m, tree); err != nil {
		return err
	}
	if err := x.k.Attach(tree, at); err != nil {
		return err
	}
	if deferred != 0 {
		x.late = append(x.late, later{tree, m.Destination, deferred})
	} else {
		defer x.k.Close(tree)
	}
	return x.setPropagation(m, tree)
}

package plan

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/spec"
)

// mountFlag is an option that sets MS_* bits or clears them.
type mountFlag struct {
	bits  uint64
	clear bool
}

// mountFlags are the file-system-independent options of mount(8).
var mountFlags = map[string]mountFlag{
	"defaults": {},
	"ro":       {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true},
	"dirsync": {unix.MS_DIRSYNC, false},
	"mand":    {unix.MS_MANDLOCK, false}, "nomand": {unix.MS_MANDLOCK, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "diratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, false}, "norelatime": {unix.MS_RELATIME, true},
	"strictatime": {unix.MS_STRICTATIME, false}, "nostrictatime": {unix.MS_STRICTATIME, true},
	"lazytime": {unix.MS_LAZYTIME, false}, "nolazytime": {unix.MS_LAZYTIME, true},
	"iversion": {unix.MS_I_VERSION, false}, "noiversion": {unix.MS_I_VERSION, true},
	"nosymfollow": {unix.MS_NOSYMFOLLOW, false}, "symfollow": {unix.MS_NOSYMFOLLOW, true},
	"silent": {unix.MS_SILENT, false}, "loud": {unix.MS_SILENT, true},
	"bind": {unix.MS_BIND, false}, "rbind": {unix.MS_BIND | unix.MS_REC, false},
}

// recursive are the runtime-spec's options for mount_setattr(2) with AT_RECURSIVE.
var recursive = map[string]mountFlag{
	"rro": {unix.MOUNT_ATTR_RDONLY, false}, "rrw": {unix.MOUNT_ATTR_RDONLY, true},
	"rnosuid": {unix.MOUNT_ATTR_NOSUID, false}, "rsuid": {unix.MOUNT_ATTR_NOSUID, true},
	"rnodev": {unix.MOUNT_ATTR_NODEV, false}, "rdev": {unix.MOUNT_ATTR_NODEV, true},
	"rnoexec": {unix.MOUNT_ATTR_NOEXEC, false}, "rexec": {unix.MOUNT_ATTR_NOEXEC, true},
	"rnodiratime": {unix.MOUNT_ATTR_NODIRATIME, false}, "rdiratime": {unix.MOUNT_ATTR_NODIRATIME, true},
	"rnosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false}, "rsymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
}

// recursiveTimes are one field and not bits: setting one clears the others, so the whole
// field goes into the clear mask (mount_setattr(2), "MOUNT_ATTR__ATIME").
var recursiveTimes = map[string]uint64{
	"rrelatime": unix.MOUNT_ATTR_RELATIME, "rnorelatime": unix.MOUNT_ATTR_STRICTATIME,
	"rnoatime": unix.MOUNT_ATTR_NOATIME, "ratime": unix.MOUNT_ATTR_RELATIME,
	"rstrictatime": unix.MOUNT_ATTR_STRICTATIME, "rnostrictatime": unix.MOUNT_ATTR_RELATIME,
}

// refused options would change what init does in ways it does not know.
var refused = []string{"remount", "idmap", "ridmap"}

// labelled are the file systems that take a context= option; binds keep the labels of
// their files, and the kernel's own file systems have labels by policy.
var labelled = []string{"tmpfs", "devpts", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"}

func mounts(c *initconf.Config, in []specs.Mount, label string, o Options) error {
	c.Mounts = make([]initconf.Mount, len(in))
	for i := range in {
		if err := mount(&c.Mounts[i], &in[i], label, o); err != nil {
			return fmt.Errorf("mounts[%d] (%s): %w", i, in[i].Destination, err)
		}
	}
	return nil
}

func mount(m *initconf.Mount, in *specs.Mount, label string, o Options) error {
	m.Type, m.Source, m.Destination = in.Type, in.Source, filepath.Clean(in.Destination)
	m.Mapped = len(in.UIDMappings) > 0 || len(in.GIDMappings) > 0
	if err := options(m, in.Options); err != nil {
		return err
	}
	if (m.RecAttrSet != 0 || m.RecAttrClear != 0) && !o.Features.MountSetattr {
		return fmt.Errorf("options: recursive attributes need mount_setattr (Linux 5.12): %w", spec.ErrUnsupported)
	}
	if m.Type == "bind" || m.Flags&unix.MS_BIND != 0 {
		m.Type, m.Flags = "bind", m.Flags|unix.MS_BIND
	}
	switch m.Type {
	case "bind":
		src, err := absolute(m.Source, o.Bundle)
		if err != nil {
			return fmt.Errorf("source: %w: %w", err, spec.ErrInvalid)
		}
		// Options of a file system do not apply to a bind; the kernel would ignore them.
		m.Source, m.Data = src, ""
	case "cgroup":
		m.CgroupView = true
	case "overlay":
		if l, ok := o.Layers[m.Destination]; ok {
			m.LayerBase, m.Layers, m.SubPath = l.Base, l.Names, l.SubPath
		}
	case "":
		return fmt.Errorf("type: empty: %w", spec.ErrInvalid)
	}
	if m.CopyUp && m.Type != "tmpfs" {
		return fmt.Errorf("options: tmpcopyup on a %s: %w", m.Type, spec.ErrInvalid)
	}
	if label != "" && slices.Contains(labelled, m.Type) {
		m.Data = appendOption(m.Data, `context="`+label+`"`)
	}
	return nil
}

// options sorts a mount's options into flags, propagation, recursive attributes and
// data. Of contradicting ones the last wins, as with mount(8).
func options(m *initconf.Mount, in []string) error {
	for _, opt := range in {
		if f, ok := mountFlags[opt]; ok {
			set(&m.Flags, &m.ClearFlags, f)
		} else if f, ok := recursive[opt]; ok {
			set(&m.RecAttrSet, &m.RecAttrClear, f)
		} else if t, ok := recursiveTimes[opt]; ok {
			m.RecAttrSet = m.RecAttrSet&^unix.MOUNT_ATTR__ATIME | t
			m.RecAttrClear |= unix.MOUNT_ATTR__ATIME
		} else if p, ok := spec.Propagation(opt); ok {
			m.Propagation = append(m.Propagation, p)
		} else if opt == "tmpcopyup" {
			m.CopyUp = true
		} else if slices.Contains(refused, opt) {
			return fmt.Errorf("options: %q: %w", opt, spec.ErrUnsupported)
		} else if opt != "" {
			m.Data = appendOption(m.Data, opt)
		}
	}
	return nil
}

func set(on, off *uint64, f mountFlag) {
	if f.clear {
		on, off = off, on
	}
	*on |= f.bits
	*off &^= f.bits
}

func appendOption(data, opt string) string {
	if data == "" {
		return opt
	}
	return data + "," + opt
}

// root plans the root file system and the propagation of the new mount namespace.
func root(r *initconf.Root, s *specs.Spec, l *specs.Linux, o Options) error {
	if o.Rootfs != nil {
		*r = *o.Rootfs
	} else {
		path, err := absolute(s.Root.Path, o.Bundle)
		if err != nil {
			return fmt.Errorf("root.path: %w: %w", err, spec.ErrInvalid)
		}
		r.Bind = path
	}
	r.Readonly, r.Label = s.Root.Readonly, l.MountLabel
	if l.RootfsPropagation != "" {
		p, ok := spec.Propagation(l.RootfsPropagation)
		if !ok {
			return fmt.Errorf("linux.rootfsPropagation: unknown %q: %w", l.RootfsPropagation, spec.ErrInvalid)
		}
		r.Propagation = p
		return nil
	}
	// Nothing of the host's later mounts is seen inside unless a mount asks for it.
	r.Propagation = unix.MS_PRIVATE | unix.MS_REC
	for i := range s.Mounts {
		if slices.ContainsFunc(s.Mounts[i].Options, receives) {
			r.Propagation = unix.MS_SLAVE | unix.MS_REC
		}
	}
	return nil
}

func receives(option string) bool {
	option = strings.TrimPrefix(option, "r")
	return option == "slave" || option == "shared"
}

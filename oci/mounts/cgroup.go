package mounts

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errNoHierarchy = errors.New("no cgroup hierarchy is mounted on the host")

// hierarchy is one cgroup hierarchy of the host, seen from this process.
type hierarchy struct {
	name   string   // directory below /sys/fs/cgroup: "memory", "cpu,cpuacct", "unified"
	source string   // the process's own cgroup in the host's mount
	links  []string // names of the controllers where they differ from name
}

const cgroupAttrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// cgroupView shows the container its cgroups at m.Destination: on a pure v2 machine
// cgroup2 itself, else a tmpfs with the container's own directory of each hierarchy.
func (x *Executor) cgroupView(m *initconf.Mount) error {
	attrs := attributes(m.Flags, 0).Set | cgroupAttrs
	if !hasV1(x.cgroups.Membership) {
		return x.cgroup2(m, attrs)
	}
	view := hierarchies(x.cgroups.Membership, x.cgroups.Mountinfo)
	if len(view) == 0 {
		return errNoHierarchy
	}
	at, err := x.destination(m.Destination, true)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	tmpfs, err := x.k.Filesystem("tmpfs", "cgroup", []kernel.Option{{Key: "mode", Value: "755"}}, cgroupAttrs)
	if err != nil {
		return err
	}
	if err := x.k.Attach(tmpfs, at); err != nil {
		return err
	}
	for _, h := range view {
		if err := x.hierarchy(tmpfs, h, attrs); err != nil {
			return &Error{Step: "cgroup", Path: h.name, Message: "source " + h.source, Err: err}
		}
	}
	if attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		return x.k.SetAttr(tmpfs, "", kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}

func (x *Executor) hierarchy(dir int, h hierarchy, attrs uint64) error {
	tree, err := x.k.Tree(unix.AT_FDCWD, h.source, false)
	if err != nil {
		return err
	}
	defer x.k.Close(tree)
	if err := x.k.SetAttr(tree, "", kernel.MountAttr{Set: attrs}); err != nil {
		return err
	}
	if err := x.k.Make(dir, h.name, Node{Mode: unix.S_IFDIR | 0o755}); err != nil {
		return err
	}
	at, err := x.k.Open(dir, h.name, unix.O_PATH|unix.O_NOFOLLOW, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	if err := x.k.Attach(tree, at); err != nil {
		return err
	}
	for _, l := range h.links {
		if err := x.k.Make(dir, l, Node{Mode: unix.S_IFLNK, Target: h.name}); err != nil {
			return err
		}
	}
	return nil
}

// cgroup2 mounts cgroup2, or where the kernel refuses (a user namespace that shares the
// host's cgroup namespace) shows the process's own cgroup of the host's mount.
func (x *Executor) cgroup2(m *initconf.Mount, attrs uint64) error {
	at, err := x.destination(m.Destination, true)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	tree, err := x.k.Filesystem("cgroup2", "cgroup", nil, int(attrs))
	if e := kernel.Errno(err); e == syscall.EPERM || e == syscall.EBUSY {
		own := "/sys/fs/cgroup"
		for _, l := range parseCgroups(x.cgroups.Membership) {
			own = path.Join(own, l.path)
		}
		if tree, err = x.k.Tree(unix.AT_FDCWD, own, false); err == nil {
			err = x.k.SetAttr(tree, "", kernel.MountAttr{Set: attrs})
		}
	}
	if err != nil {
		return err
	}
	defer x.k.Close(tree)
	return x.k.Attach(tree, at)
}

// membership is a line of /proc/self/cgroup (cgroups(7)); controllers is empty for v2.
type membership struct {
	controllers []string // "name=systemd" for a named hierarchy
	path        string
}

func parseCgroups(text []byte) []membership {
	var out []membership
	for line := range bytes.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		m := membership{path: f[2]}
		if f[1] != "" {
			m.controllers = strings.Split(f[1], ",")
		}
		out = append(out, m)
	}
	return out
}

func hasV1(text []byte) bool {
	for _, m := range parseCgroups(text) {
		if len(m.controllers) > 0 {
			return true
		}
	}
	return false
}

// hierarchies finds, for each membership, where the host has mounted that hierarchy. One
// that is not mounted is not shown.
func hierarchies(cgroups, mountinfo []byte) []hierarchy {
	mounted := parseCgroupMounts(mountinfo)
	var out []hierarchy
	for _, m := range parseCgroups(cgroups) {
		for _, at := range mounted {
			if !at.holds(m.controllers) {
				continue
			}
			rel := m.path
			if at.root != "/" {
				rest, ok := strings.CutPrefix(m.path, at.root)
				if !ok {
					continue
				}
				rel = rest
			}
			h := hierarchy{name: path.Base(at.point), source: path.Join(at.point, rel)}
			for _, c := range m.controllers {
				if len(m.controllers) > 1 && c != h.name {
					h.links = append(h.links, c)
				}
			}
			out = append(out, h)
			break
		}
	}
	return out
}

type cgroupMount struct {
	root, point string
	v2          bool
	options     []string // super block options: controllers, "name=…"
}

func (m *cgroupMount) holds(controllers []string) bool {
	if len(controllers) == 0 || m.v2 {
		return m.v2 && len(controllers) == 0
	}
	for _, o := range m.options {
		if o == controllers[0] {
			return true
		}
	}
	return false
}

// parseCgroupMounts picks the cgroup mounts out of a mountinfo (proc_pid_mountinfo(5)).
func parseCgroupMounts(text []byte) []cgroupMount {
	var out []cgroupMount
	for line := range bytes.Lines(text) {
		before, after, ok := strings.Cut(string(line), " - ")
		if !ok || !strings.HasPrefix(after, "cgroup") {
			continue
		}
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		out = append(out, cgroupMount{
			root: f[3], point: f[4], v2: g[0] == "cgroup2", options: strings.Split(g[2], ","),
		})
	}
	return out
}

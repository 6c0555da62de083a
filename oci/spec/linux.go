package spec

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// linux checks what stands by itself below "linux".
func (c *checker) linux(l *specs.Linux) {
	c.devices(l.Devices)
	for i, p := range l.MaskedPaths {
		c.absolute(p, "linux.maskedPaths[%d]", i)
	}
	for i, p := range l.ReadonlyPaths {
		c.absolute(p, "linux.readonlyPaths[%d]", i)
	}
	if _, ok := Propagation(l.RootfsPropagation); !ok && l.RootfsPropagation != "" {
		c.invalid("linux.rootfsPropagation: unknown %q", l.RootfsPropagation)
	}
	c.label("linux.mountLabel", l.MountLabel)
	c.cgroupsPath(l.CgroupsPath)
	c.resources(l.Resources)
	c.seccomp(l.Seccomp)
	if l.IntelRdt != nil {
		c.unsupported("linux.intelRdt")
	}
	if l.MemoryPolicy != nil {
		c.unsupported("linux.memoryPolicy")
	}
	if l.Personality != nil {
		c.unsupported("linux.personality")
	}
	if len(l.TimeOffsets) > 0 {
		c.unsupported("linux.timeOffsets")
	}
	if len(l.NetDevices) > 0 {
		c.unsupported("linux.netDevices")
	}
}

// Limits of a dev_t: MINORBITS is 20.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

func (c *checker) devices(ds []specs.LinuxDevice) {
	seen := make(map[string]bool, len(ds))
	for i, d := range ds {
		c.absolute(d.Path, "linux.devices[%d].path", i)
		p := path.Clean(d.Path)
		switch {
		case p == "/" || p == "/dev" || strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/"):
			c.invalid("linux.devices[%d].path: %q is no place for a device", i, d.Path)
		case seen[p]:
			c.invalid("linux.devices[%d].path: second %q", i, p)
		}
		seen[p] = true
		switch d.Type {
		case "c", "u", "b":
			if d.Major < 0 || d.Major > maxMajor || d.Minor < 0 || d.Minor > maxMinor {
				c.invalid("linux.devices[%d]: no device number %d:%d", i, d.Major, d.Minor)
			}
		case "p":
		default:
			c.invalid("linux.devices[%d].type: unknown %q", i, d.Type)
		}
		if d.UID != nil && *d.UID == noID || d.GID != nil && *d.GID == noID {
			c.invalid("linux.devices[%d]: uid or gid %d", i, uint32(noID))
		}
	}
}

// cgroupsPath is a path below the cgroup mount, or "slice:prefix:name" for systemd.
func (c *checker) cgroupsPath(p string) {
	if slices.Contains(strings.Split(p, "/"), "..") || strings.ContainsFunc(p, control) {
		c.invalid("linux.cgroupsPath: %q", p)
	}
}

// resources checks what would reach files outside the cgroup; figures are the kernel's to judge.
func (c *checker) resources(r *specs.LinuxResources) {
	if r == nil {
		return
	}
	for i, d := range r.Devices {
		if !slices.Contains([]string{"", "a", "b", "c"}, d.Type) {
			c.invalid("linux.resources.devices[%d].type: unknown %q", i, d.Type)
		}
		if strings.Trim(d.Access, "rwm") != "" {
			c.invalid("linux.resources.devices[%d].access: %q is not of r, w and m", i, d.Access)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.Unified)) {
		if k == "" || strings.ContainsRune(k, '/') || strings.HasPrefix(k, "cgroup.") && k != "cgroup.max.depth" && k != "cgroup.max.descendants" {
			c.invalid("linux.resources.unified: %q is not a controller's file", k)
		}
	}
	for i, h := range r.HugepageLimits {
		if h.Pagesize == "" || strings.ContainsAny(h.Pagesize, "/.\x00") {
			c.invalid("linux.resources.hugepageLimits[%d].pageSize: %q", i, h.Pagesize)
		}
	}
}

var namespaceTypes = []specs.LinuxNamespaceType{
	specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace,
	specs.UserNamespace, specs.CgroupNamespace,
}

// namespaces returns the types that the list makes or joins.
func (c *checker) namespaces(ns []specs.LinuxNamespace) map[specs.LinuxNamespaceType]bool {
	owned := make(map[specs.LinuxNamespaceType]bool, len(ns))
	for i, n := range ns {
		switch {
		case n.Type == specs.TimeNamespace:
			c.unsupported("linux.namespaces[%d].type: %q", i, n.Type)
		case !slices.Contains(namespaceTypes, n.Type):
			c.invalid("linux.namespaces[%d].type: unknown %q", i, n.Type)
		case owned[n.Type]:
			c.invalid("linux.namespaces[%d].type: second %q", i, n.Type)
		case n.Type == specs.MountNamespace && n.Path != "":
			// A root cannot be set up in a namespace whose other mounts are not ours.
			c.unsupported("linux.namespaces[%d].path: joining a mount namespace", i)
		}
		if n.Path != "" {
			c.absolute(n.Path, "linux.namespaces[%d].path", i)
		}
		owned[n.Type] = true
	}
	if !owned[specs.MountNamespace] {
		c.invalid("linux.namespaces: no mount namespace: the node's root would be changed")
	}
	return owned
}

// maxMappings is the kernel's UID_GID_MAP_MAX_EXTENTS.
const maxMappings = 340

func (c *checker) idMappings(s *specs.Spec, owned map[specs.LinuxNamespaceType]bool) {
	if s.Linux == nil {
		return
	}
	l := s.Linux
	c.idMap("linux.uidMappings", l.UIDMappings)
	c.idMap("linux.gidMappings", l.GIDMappings)
	given := len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0
	if !owned[specs.UserNamespace] {
		if given {
			c.invalid("linux.uidMappings, gidMappings: given without a user namespace")
		}
		return
	}
	joined := slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace && n.Path != "" })
	if joined && !given {
		return
	}
	if len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		c.invalid("linux.uidMappings, gidMappings: both are needed with a new user namespace")
		return
	}
	if s.Process == nil {
		return
	}
	if u := s.Process.User; !mapped(l.UIDMappings, u.UID) {
		c.invalid("process.user.uid: %d is not in linux.uidMappings", u.UID)
	}
	for _, g := range append([]uint32{s.Process.User.GID}, s.Process.User.AdditionalGids...) {
		if !mapped(l.GIDMappings, g) {
			c.invalid("process.user: gid %d is not in linux.gidMappings", g)
		}
	}
}

func mapped(ms []specs.LinuxIDMapping, id uint32) bool {
	return slices.ContainsFunc(ms, func(m specs.LinuxIDMapping) bool { return id >= m.ContainerID && id-m.ContainerID < m.Size })
}

func (c *checker) idMap(field string, ms []specs.LinuxIDMapping) {
	if len(ms) > maxMappings {
		c.invalid("%s: more than %d", field, maxMappings)
		return
	}
	overlap := func(a, aSize, b, bSize uint32) bool {
		return uint64(a) < uint64(b)+uint64(bSize) && uint64(b) < uint64(a)+uint64(aSize)
	}
	for i, m := range ms {
		if m.Size == 0 || uint64(m.ContainerID)+uint64(m.Size) > noID || uint64(m.HostID)+uint64(m.Size) > noID {
			c.invalid("%s[%d]: size %d", field, i, m.Size)
		}
		for _, o := range ms[:i] {
			if overlap(m.ContainerID, m.Size, o.ContainerID, o.Size) || overlap(m.HostID, m.Size, o.HostID, o.Size) {
				c.invalid("%s[%d]: overlaps an earlier one", field, i)
			}
		}
	}
}

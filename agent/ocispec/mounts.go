package ocispec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts puts the list together. A mount of the request at or above a default one's destination
// takes its place (with /dev come all of its children, and cAdvisor's /sys brings the host's cgroups);
// an image's volume never does. Parents come first, else the order is kept.
func (b *builder) mounts() error {
	requested, err := b.requestedMounts()
	if err != nil {
		return err
	}
	volumes, err := b.volumes(requested)
	if err != nil {
		return err
	}
	var list []specs.Mount
	for _, m := range b.defaultMounts() {
		if !slices.ContainsFunc(requested, func(r specs.Mount) bool { return within(m.Destination, r.Destination) }) {
			list = append(list, m)
		}
	}
	for _, m := range b.podFiles() {
		if !slices.ContainsFunc(requested, func(r specs.Mount) bool { return r.Destination == m.Destination }) {
			list = append(list, m)
		}
	}
	list = slices.Concat(list, volumes, requested)
	slices.SortStableFunc(list, func(x, y specs.Mount) int {
		return strings.Count(x.Destination, "/") - strings.Count(y.Destination, "/")
	})
	b.spec.Mounts = list
	return nil
}

// within tells whether p is dir or lies below it; both are clean and absolute.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// defaultMounts are those of the runtime-spec's Linux file systems and of every CRI runtime.
func (b *builder) defaultMounts() []specs.Mount {
	access := "ro"
	if b.privileged {
		access = "rw"
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	return append(list, b.shm())
}

// shm follows the IPC namespace: the pod's, the node's, or the container's own.
func (b *builder) shm() specs.Mount {
	source := b.in.ShmDir
	switch b.options().GetIpc() {
	case runtimeapi.NamespaceMode_CONTAINER:
		source = ""
	case runtimeapi.NamespaceMode_NODE:
		source = "/dev/shm"
	}
	if source == "" {
		return specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}}
	}
	return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: source,
		Options: []string{"rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"}}
}

func (b *builder) podFiles() []specs.Mount {
	access := "rw"
	if b.security.GetReadonlyRootfs() {
		access = "ro"
	}
	var list []specs.Mount
	for _, f := range []struct{ dest, source string }{
		{"/etc/hosts", b.in.Hosts}, {"/etc/resolv.conf", b.in.ResolvConf}, {"/etc/hostname", b.in.Hostname},
	} {
		if f.source != "" {
			list = append(list, specs.Mount{Destination: f.dest, Type: "bind", Source: f.source,
				Options: []string{"rbind", "rprivate", access}})
		}
	}
	return list
}

func (b *builder) requestedMounts() ([]specs.Mount, error) {
	var list []specs.Mount
	for i, m := range b.in.Config.GetMounts() {
		bind, err := b.bind(i, m)
		if err != nil {
			return nil, err
		}
		if m.GetSelinuxRelabel() && b.in.Host.SELinux {
			b.out.Relabel = append(b.out.Relabel, bind.Source)
		}
		list = append(list, bind)
	}
	return list, nil
}

func (b *builder) bind(i int, m *runtimeapi.Mount) (specs.Mount, error) {
	const field = "mounts"
	dest, source := m.GetContainerPath(), m.GetHostPath()
	switch {
	case m.GetImage().GetImage() != "":
		return specs.Mount{}, unsupported(field, "image volume at "+dest)
	case len(m.GetUidMappings()) > 0, len(m.GetGidMappings()) > 0:
		return specs.Mount{}, unsupported(field, "uidMappings and gidMappings at "+dest)
	case !path.IsAbs(dest), path.Clean(dest) == "/", strings.ContainsRune(dest, 0):
		return specs.Mount{}, invalid(field, "[%d]: container_path %q is no absolute path below the root", i, dest)
	case !path.IsAbs(source), strings.ContainsRune(source, 0):
		return specs.Mount{}, invalid(field, "[%d]: host_path %q (for %s) is not absolute", i, source, dest)
	}
	options := []string{"rbind"}
	switch m.GetPropagation() {
	case runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		options = append(options, "rprivate")
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		options = append(options, "rslave")
		if b.spec.Linux.RootfsPropagation == "" {
			b.spec.Linux.RootfsPropagation = "rslave"
		}
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		options = append(options, "rshared")
		b.spec.Linux.RootfsPropagation = "rshared"
	default:
		return specs.Mount{}, invalid(field, "[%d]: unknown propagation %d", i, m.GetPropagation())
	}
	access, err := mountAccess(m)
	if err != nil {
		return specs.Mount{}, err
	}
	options = append(options, access)
	for _, o := range m.GetMountOptions() {
		if !slices.Contains(allowedMountOptions, o) {
			return specs.Mount{}, invalid(field, "[%d]: mount option %q for %s is not one of %s",
				i, o, dest, strings.Join(allowedMountOptions, ", "))
		}
		options = append(options, o)
	}
	return specs.Mount{Destination: path.Clean(dest), Type: "bind", Source: path.Clean(source), Options: options}, nil
}

// allowedMountOptions are those of a request's mount_options that only take away.
var allowedMountOptions = []string{
	"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime", "nosymfollow",
}

func mountAccess(m *runtimeapi.Mount) (string, error) {
	switch {
	case !m.GetRecursiveReadOnly() && m.GetReadonly():
		return "ro", nil
	case !m.GetRecursiveReadOnly():
		return "rw", nil
	case !m.GetReadonly():
		return "", invalid("mounts", "recursive_read_only of %s needs readonly", m.GetContainerPath())
	case m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return "", invalid("mounts", "recursive_read_only of %s needs private propagation", m.GetContainerPath())
	}
	return "rro", nil
}

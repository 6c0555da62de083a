package ocispec

import (
	"fmt"
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
	list = append(list, b.shm())
	if b.maps != nil && b.options().GetNetwork() == runtimeapi.NamespaceMode_NODE {
		// sysfs belongs to whoever the network namespace belongs to (sysfs(5)): the node's is shown.
		i := slices.IndexFunc(list, func(m specs.Mount) bool { return m.Type == "sysfs" })
		list[i] = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev", "rro"}}
	}
	return list
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
		if m.GetSelinuxRelabel() && b.in.Host.SELinux && m.GetImage() == nil {
			b.out.Relabel = append(b.out.Relabel, bind.Source)
		}
		list = append(list, bind)
	}
	return list, nil
}

func (b *builder) bind(i int, m *runtimeapi.Mount) (specs.Mount, error) {
	field := fmt.Sprintf("mounts[%d]", i)
	dest, source := m.GetContainerPath(), m.GetHostPath()
	if !path.IsAbs(dest) || path.Clean(dest) == "/" || strings.ContainsRune(dest, 0) {
		return specs.Mount{}, invalid(field+".container_path", "%q is no absolute path below the root", dest)
	}
	if m.GetImage() != nil {
		return b.imageVolume(i, m)
	}
	switch {
	case m.GetImageSubPath() != "":
		return specs.Mount{}, invalid(field+".image_sub_path", "needs image")
	case !path.IsAbs(source), strings.ContainsRune(source, 0):
		return specs.Mount{}, invalid(field+".host_path", "%q (for %s) is not absolute", source, dest)
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
		return specs.Mount{}, invalid(field+".propagation", "unknown mode %d", m.GetPropagation())
	}
	access, err := mountAccess(field, m)
	if err != nil {
		return specs.Mount{}, err
	}
	if options, err = withMountOptions(field, append(options, access), m); err != nil {
		return specs.Mount{}, err
	}
	maps, err := b.mountMappings(field, m)
	if err != nil {
		return specs.Mount{}, err
	}
	return specs.Mount{
		Destination: path.Clean(dest), Type: "bind", Source: path.Clean(source), Options: options,
		UIDMappings: maps.UIDs, GIDMappings: maps.GIDs,
	}, nil
}

// imageVolume is a mount of another image (KEP-4639): read-only whatever readonly says, without
// devices and set-id bits; programs run, as the field has it. Source is for readers alone: what is there
// Output.ImageVolumes says, which the runtime is given beside the spec.
func (b *builder) imageVolume(i int, m *runtimeapi.Mount) (specs.Mount, error) {
	field := fmt.Sprintf("mounts[%d]", i)
	if i >= len(b.in.ImageVolumes) || b.in.ImageVolumes[i] == "" {
		return specs.Mount{}, invalid(field+".image", "%q is not resolved", m.GetImage().GetImage())
	}
	sub := m.GetImageSubPath()
	switch {
	case m.GetHostPath() != "":
		return specs.Mount{}, invalid(field+".host_path", "must be empty beside image")
	case m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return specs.Mount{}, invalid(field+".propagation", "an image volume's is private")
	case path.IsAbs(sub), strings.ContainsRune(sub, 0), slices.Contains(strings.Split(sub, "/"), ".."):
		return specs.Mount{}, invalid(field+".image_sub_path", "%q is not a relative path without ..", sub)
	}
	// Its layers are mapped as the root's are.
	if _, err := b.mountMappings(field, m); err != nil {
		return specs.Mount{}, err
	}
	if _, err := mountAccess(field, m); err != nil {
		return specs.Mount{}, err
	}
	options, err := withMountOptions(field, []string{"ro", "nosuid", "nodev"}, m)
	if err != nil {
		return specs.Mount{}, err
	}
	out := specs.Mount{
		Destination: path.Clean(m.GetContainerPath()), Type: "overlay",
		Source: path.Join(b.in.ImageVolumes[i], sub), Options: options,
	}
	b.out.ImageVolumes = append(b.out.ImageVolumes, ImageVolume{Destination: out.Destination, Image: b.in.ImageVolumes[i], SubPath: sub})
	return out, nil
}

func withMountOptions(field string, options []string, m *runtimeapi.Mount) ([]string, error) {
	for j, o := range m.GetMountOptions() {
		if !slices.Contains(allowedMountOptions, o) {
			return nil, invalid(fmt.Sprintf("%s.mount_options[%d]", field, j), "%q for %s is not one of %s",
				o, m.GetContainerPath(), strings.Join(allowedMountOptions, ", "))
		}
		if !slices.Contains(options, o) {
			options = append(options, o)
		}
	}
	return options, nil
}

// allowedMountOptions are those of a request's mount_options that only take away.
var allowedMountOptions = []string{
	"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime", "nosymfollow",
}

func mountAccess(field string, m *runtimeapi.Mount) (string, error) {
	field += ".recursive_read_only"
	switch {
	case !m.GetRecursiveReadOnly() && m.GetReadonly():
		return "ro", nil
	case !m.GetRecursiveReadOnly():
		return "rw", nil
	case !m.GetReadonly():
		return "", invalid(field, "%s needs readonly", m.GetContainerPath())
	case m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return "", invalid(field, "%s needs private propagation", m.GetContainerPath())
	}
	return "rro", nil
}

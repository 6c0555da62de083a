package ocispec

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// namespaces fills the list. A namespace that is not on it is the node's.
//
// The cgroup namespace is the container's own unless it is privileged, on v1 as on v2: the
// hierarchies then show its own cgroup as their root without a bind mount for each.
func (b *builder) namespaces() error {
	o := b.options()
	if err := b.userNamespace(o); err != nil {
		return err
	}
	b.namespace(specs.MountNamespace, "")
	if b.in.UTSNS != "" {
		b.namespace(specs.UTSNamespace, b.in.UTSNS)
	}
	if !b.privileged {
		b.namespace(specs.CgroupNamespace, "")
	}
	pod := b.in.Pod.GetLinux().GetSecurityContext().GetNamespaceOptions()
	const field = "linux.security_context.namespace_options."
	if o.GetNetwork() == runtimeapi.NamespaceMode_CONTAINER {
		return unsupported(field+"network", "a network namespace of one container")
	}
	if o.GetPid() == runtimeapi.NamespaceMode_TARGET && o.GetTargetId() == "" {
		return invalid(field+"target_id", "is missing")
	}
	for _, n := range []struct {
		field     string
		kind      specs.LinuxNamespaceType
		mode, pod runtimeapi.NamespaceMode
		path      string
	}{
		{"network", specs.NetworkNamespace, o.GetNetwork(), pod.GetNetwork(), b.in.NetNS},
		{"ipc", specs.IPCNamespace, o.GetIpc(), pod.GetIpc(), b.in.IPCNS},
		{"pid", specs.PIDNamespace, o.GetPid(), pod.GetPid(), b.in.PIDNS},
	} {
		switch {
		case n.mode == runtimeapi.NamespaceMode_NODE:
		case n.mode == runtimeapi.NamespaceMode_CONTAINER:
			b.namespace(n.kind, "")
		case n.mode == runtimeapi.NamespaceMode_TARGET && n.kind != specs.PIDNamespace:
			return unsupported(field+n.field, "the namespace of another container")
		case n.mode != runtimeapi.NamespaceMode_POD && n.mode != runtimeapi.NamespaceMode_TARGET:
			return invalid(field+n.field, "unknown mode %d", n.mode)
		case n.path != "":
			b.namespace(n.kind, n.path)
		case n.mode == runtimeapi.NamespaceMode_POD && n.pod == runtimeapi.NamespaceMode_NODE:
		default:
			return invalid(field+n.field, "mode %s, but there is no such namespace to join", n.mode)
		}
	}
	return nil
}

func (b *builder) namespace(kind specs.LinuxNamespaceType, path string) {
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

// options are the container's, else the pod's.
func (b *builder) options() *runtimeapi.NamespaceOption {
	if o := b.security.GetNamespaceOptions(); o != nil {
		return o
	}
	return b.in.Pod.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

// userNamespace follows the pod's: a container has no other. A missing message means the node's:
// such kubelets know no user namespaces.
func (b *builder) userNamespace(o *runtimeapi.NamespaceOption) error {
	const field = "linux.security_context.namespace_options."
	pod := b.in.Pod.GetLinux().GetSecurityContext().GetNamespaceOptions()
	maps, err := UserMappings(pod)
	if err != nil {
		return err
	}
	if u := o.GetUsernsOptions(); u != nil {
		own, err := UserMappings(o)
		if err != nil {
			return err
		}
		if !own.Equal(maps) {
			return invalid(field+"userns_options", "not the pod's")
		}
	}
	if maps == nil {
		return nil
	}
	if b.in.UserNS == "" {
		return invalid(field+"userns_options", "the pod has no user namespace to join")
	}
	if o.GetPid() == runtimeapi.NamespaceMode_NODE || o.GetIpc() == runtimeapi.NamespaceMode_NODE {
		return invalid(field+"pid, ipc", "the node's, but the user namespace is the pod's")
	}
	b.namespace(specs.UserNamespace, b.in.UserNS)
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = maps.UIDs, maps.GIDs
	b.maps = maps
	return nil
}

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

// userNamespace refuses what would silently run without one. A missing message means the
// node's: such kubelets know no user namespaces.
func (b *builder) userNamespace(o *runtimeapi.NamespaceOption) error {
	const field = "linux.security_context.namespace_options.userns_options"
	pod := b.in.Pod.GetLinux().GetSecurityContext().GetNamespaceOptions()
	for _, u := range []*runtimeapi.UserNamespace{o.GetUsernsOptions(), pod.GetUsernsOptions()} {
		switch {
		case u == nil, u.GetMode() == runtimeapi.NamespaceMode_NODE:
		case u.GetMode() == runtimeapi.NamespaceMode_POD:
			return unsupported(field, "user namespaces")
		default:
			return invalid(field, "mode %s", u.GetMode())
		}
	}
	return nil
}

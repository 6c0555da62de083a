// Package pods owns the pod sandboxes: their records, their immutable snapshots, their
// operation slots, and the verbs Run, Stop and Remove with rollback.
package pods

import (
	"net/netip"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/steps"
)

// Pod is an immutable snapshot of a pod sandbox; whoever holds one may read it for ever.
type Pod struct {
	ID                  string
	Config              *runtimeapi.PodSandboxConfig // as requested, with updated resources
	RuntimeHandler      string
	State               lifecycle.PodState
	CreatedAt           time.Time
	NetNS, IPCNS, UTSNS string          // pins, "" where the node's
	UserNS              string          // likewise
	PID                 int             // of the pod's PID 1, 0 without a pod PID namespace
	Network             *network.Result // nil for host network
	CgroupPath          string          // under which the pod's containers' cgroups are made
	OwnCgroup           bool            // CgroupPath was made for the pod, not given by the caller
	Timeline            []steps.Took    // of its start
}

// Addrs are the pod's addresses, primary first; empty for host network.
func (p *Pod) Addrs() []netip.Addr {
	if p.Network == nil {
		return nil
	}
	a := make([]netip.Addr, len(p.Network.IPs))
	for i, ip := range p.Network.IPs {
		a[i] = ip.Addr()
	}
	return a
}

// HostNetwork says whether the pod uses the node's network namespace.
func (p *Pod) HostNetwork() bool {
	return namespaces(p.Config).GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// namespaces are the request's namespace modes; nil-safe getters make missing ones POD.
func namespaces(c *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	return c.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

// Package pods owns the pod sandboxes: their records, their immutable snapshots, their
// operation slots, and the verbs Run, Stop and Remove with rollback.
package pods

import (
	"net/netip"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// Pod is an immutable snapshot of a pod sandbox; whoever holds one may read it for ever.
type Pod struct {
	ID                  string
	Config              *runtimeapi.PodSandboxConfig // as requested; never modified
	RuntimeHandler      string
	State               lifecycle.PodState
	CreatedAt           time.Time
	NetNS, IPCNS, UTSNS string          // pins, "" where the node's
	PID                 int             // of the pod's PID 1, 0 without a pod PID namespace
	Network             *network.Result // nil for host network
	CgroupPath          string          // under which the pod's containers' cgroups are made
	HostIPs             []netip.Addr    // host network: the node's
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

// Service (implemented by *Pods):
//
//	Run(ctx, cfg *runtimeapi.PodSandboxConfig, handler string) (id string, err error)
//	Stop(ctx, id string) error    // unknown id: nil
//	Remove(ctx, id string) error  // unknown id: nil
//	Get(id string) (*Pod, error)  // id or unique prefix; lifecycle.ErrNotFound
//	List() []*Pod
//	PortForward(ctx, id string, port int32, stream io.ReadWriteCloser) error

package convert

import (
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// PodState maps a pod's stored state. CRI knows two: all but a ready pod is NOTREADY, so
// that kubelet stops and removes what was left half-way.
func PodState(s lifecycle.PodState) runtimeapi.PodSandboxState {
	if s == lifecycle.PodReady {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// PodListed tells whether a list shows the pod. One that is being made is not there
// yet: nobody has its id, and kubelet would take it for a leftover.
func PodListed(p *pods.Pod) bool { return p.State != lifecycle.PodCreating }

// PodSandbox is a pod as ListPodSandbox shows it.
func PodSandbox(p *pods.Pod) *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{
		Id:             p.ID,
		Metadata:       p.Config.GetMetadata(),
		State:          PodState(p.State),
		CreatedAt:      nanos(p.CreatedAt),
		Labels:         p.Config.GetLabels(),
		Annotations:    p.Config.GetAnnotations(),
		RuntimeHandler: p.RuntimeHandler,
	}
}

// PodSandboxStatus is a pod as PodSandboxStatus shows it. A pod in the node's network has
// no address of its own, which is what kubelet expects for one.
func PodSandboxStatus(p *pods.Pod) *runtimeapi.PodSandboxStatus {
	return &runtimeapi.PodSandboxStatus{
		Id:        p.ID,
		Metadata:  p.Config.GetMetadata(),
		State:     PodState(p.State),
		CreatedAt: nanos(p.CreatedAt),
		Network:   podNetwork(p),
		Linux: &runtimeapi.LinuxPodSandboxStatus{
			Namespaces: &runtimeapi.Namespace{
				Options: podNamespaces(p.Config),
			},
		},
		Labels:         p.Config.GetLabels(),
		Annotations:    p.Config.GetAnnotations(),
		RuntimeHandler: p.RuntimeHandler,
	}
}

func podNetwork(p *pods.Pod) *runtimeapi.PodSandboxNetworkStatus {
	addrs := p.Addrs()
	if len(addrs) == 0 {
		return &runtimeapi.PodSandboxNetworkStatus{}
	}
	n := &runtimeapi.PodSandboxNetworkStatus{Ip: addrs[0].String()}
	for _, a := range addrs[1:] {
		n.AdditionalIps = append(n.AdditionalIps, &runtimeapi.PodIP{Ip: a.String()})
	}
	return n
}

// podNamespaces are the options as requested; CRI's default is POD for each.
func podNamespaces(cfg *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	if o := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions(); o != nil {
		return o
	}
	return &runtimeapi.NamespaceOption{}
}

// nanos is t in nanoseconds of Unix time; the zero time is 0, CRI's "not specified".
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

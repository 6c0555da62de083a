package convert

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// The filters below are CRI's: all fields are ANDed, an empty field matches all, ids
// match by prefix, and a label selector wants each of its labels equal.

// PodFilter is the predicate of a ListPodSandbox filter; f may be nil.
func PodFilter(f *runtimeapi.PodSandboxFilter) func(*pods.Pod) bool {
	return func(p *pods.Pod) bool {
		if f.GetState() != nil && f.GetState().GetState() != PodState(p.State) {
			return false
		}
		return PodListed(p) && strings.HasPrefix(p.ID, f.GetId()) &&
			selects(f.GetLabelSelector(), p.Config.GetLabels())
	}
}

// ContainerFilter is the predicate of a ListContainers filter; f may be nil.
func ContainerFilter(f *runtimeapi.ContainerFilter) func(*containers.Container) bool {
	return func(c *containers.Container) bool {
		if f.GetState() != nil && f.GetState().GetState() != ContainerState(c.State) {
			return false
		}
		return ContainerListed(c) && strings.HasPrefix(c.ID, f.GetId()) &&
			strings.HasPrefix(c.PodID, f.GetPodSandboxId()) &&
			selects(f.GetLabelSelector(), c.Config.GetLabels())
	}
}

// PodStatsFilter is the predicate of a ListPodSandboxStats filter; f may be nil. Only ready pods use anything.
func PodStatsFilter(f *runtimeapi.PodSandboxStatsFilter) func(*pods.Pod) bool {
	return func(p *pods.Pod) bool {
		return p.State == lifecycle.PodReady && strings.HasPrefix(p.ID, f.GetId()) &&
			selects(f.GetLabelSelector(), p.Config.GetLabels())
	}
}

// ContainerStatsFilter is the predicate of a ListContainerStats filter; f may be nil. CRI
// wants the running containers.
func ContainerStatsFilter(f *runtimeapi.ContainerStatsFilter) func(*containers.Container) bool {
	return func(c *containers.Container) bool {
		return c.State == lifecycle.ContainerRunning && strings.HasPrefix(c.ID, f.GetId()) &&
			strings.HasPrefix(c.PodID, f.GetPodSandboxId()) &&
			selects(f.GetLabelSelector(), c.Config.GetLabels())
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

package events

import (
	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// podKinds says what a change of a pod is to a reader. A sandbox is created and started in one
// step, as its start is one call; it is stopped once everything of it is given back.
func podKinds(old, now *pods.Pod) []Kind {
	stopped := func(p *pods.Pod) bool {
		return p.State == lifecycle.PodNotReady || p.State == lifecycle.PodRemoving
	}
	switch {
	case now == nil:
		return []Kind{Deleted}
	case old == nil && stopped(now):
		return []Kind{Created, Started, Stopped}
	case old == nil:
		return []Kind{Created, Started}
	case !stopped(old) && stopped(now):
		return []Kind{Stopped}
	}
	return nil
}

// containerKinds says what a change of a container is to a reader. Steps that one change takes at
// once are all told: a process may end before anybody is told that it started, or was created.
func containerKinds(old, now *containers.Container) []Kind {
	if now == nil {
		return []Kind{Deleted}
	}
	var kinds []Kind
	from := lifecycle.ContainerCreated
	if old == nil {
		kinds = append(kinds, Created)
	} else {
		from = old.State
	}
	waiting := from == lifecycle.ContainerCreated || from == lifecycle.ContainerStarting
	running := from == lifecycle.ContainerRunning
	switch now.State {
	case lifecycle.ContainerRunning:
		if waiting {
			kinds = append(kinds, Started)
		}
	case lifecycle.ContainerExited, lifecycle.ContainerRemoving:
		if waiting && !now.StartedAt.IsZero() && now.Reason != containers.StartError {
			kinds = append(kinds, Started)
		}
		if waiting || running {
			kinds = append(kinds, Stopped)
		}
	}
	return kinds
}

package convert

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/events"
)

var eventTypes = map[events.Kind]runtimeapi.ContainerEventType{
	events.Created: runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
	events.Started: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
	events.Stopped: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	events.Deleted: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
}

// ContainerEvent is an event as GetContainerEvents sends it. A kubelet replaces what it knows of the pod by
// the statuses inside, so they are all there, whatever the event is of.
func ContainerEvent(e *events.Event, names ImageNames) *runtimeapi.ContainerEventResponse {
	out := &runtimeapi.ContainerEventResponse{
		ContainerId:        e.ID,
		ContainerEventType: eventTypes[e.Kind],
		CreatedAt:          e.At.UnixNano(),
	}
	if e.Pod != nil {
		out.PodSandboxStatus = PodSandboxStatus(e.Pod)
	}
	for _, c := range e.Containers {
		if ContainerListed(c) {
			out.ContainersStatuses = append(out.ContainersStatuses, ContainerStatus(c, names))
		}
	}
	return out
}

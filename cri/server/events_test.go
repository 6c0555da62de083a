package server

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// subscribe returns once the server has the subscription: whatever happens then is sent.
func (n *node) subscribe(t *testing.T) runtimeapi.RuntimeService_GetContainerEventsClient {
	t.Helper()
	stream, err := n.runtime.GetContainerEvents(callContext(t), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestContainerEvents(t *testing.T) {
	n := start(t)
	stream := n.subscribe(t)
	before := time.Now().UnixNano()
	run1 := n.containers.list[0]
	was := &containers.Container{ID: run1.ID, PodID: run1.PodID, State: lifecycle.ContainerStarting, Config: run1.Config}
	n.containers.tell(was, run1)
	e, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if e.ContainerId != "run1" || e.ContainerEventType != runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT || e.CreatedAt < before {
		t.Errorf("%v", e)
	}
	if p := e.PodSandboxStatus; p.GetId() != "podready" || p.GetMetadata().GetUid() != "u-ready" || p.GetState() != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("pod %v", p)
	}
	// The one that is being made is left out, as in lists.
	if len(e.ContainersStatuses) != 2 {
		t.Errorf("statuses %v", e.ContainersStatuses)
	}
	gone := n.pods.list[1]
	n.pods.tell(gone, nil)
	if e, err = stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if e.ContainerId != "podgone" || e.ContainerEventType != runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT ||
		e.PodSandboxStatus.GetId() != "podgone" || len(e.ContainersStatuses) != 0 {
		t.Errorf("the end of a pod: %v", e)
	}
}

// TestStuckReader: a caller that does not read is ended, another one at the same time loses nothing, and
// what is kept for the first is bounded.
func TestStuckReader(t *testing.T) {
	n := start(t)
	stuck, reader := n.subscribe(t), n.subscribe(t)
	const total = events.QueueLimit + 4096 // beyond the queue and what gRPC buffers
	behind := make(chan struct{}, 1024)    // a reader that keeps up is to keep up
	go func() {
		ready, stopped := n.pods.list[0], &pods.Pod{}
		*stopped = *ready
		stopped.State = lifecycle.PodNotReady
		for range total {
			behind <- struct{}{}
			n.pods.tell(ready, stopped)
		}
	}()
	for i := range total {
		if _, err := reader.Recv(); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		<-behind
	}
	var got int
	var err error
	for err == nil {
		if _, err = stuck.Recv(); err == nil {
			got++
		}
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stuck reader was ended by %v", err)
	}
	if got >= total-events.QueueLimit {
		t.Errorf("%d events were kept for a reader that did not read", got)
	}
}

// TestEventsEndWithTheServer: a subscription does not hold up the server's end.
func TestEventsEndWithTheServer(t *testing.T) {
	n := start(t)
	stream := n.subscribe(t)
	begun := time.Now()
	n.server.Stop(callContext(t))
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

func TestPodSandboxStatusHasContainers(t *testing.T) {
	n := start(t)
	before := time.Now().UnixNano()
	r, err := n.runtime.PodSandboxStatus(callContext(t), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "podready"})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, c := range r.ContainersStatuses {
		states[c.Id] = c.State.String()
	}
	if got := fmt.Sprint(states); got != "map[end1:CONTAINER_EXITED run1:CONTAINER_RUNNING]" {
		t.Errorf("containers %s", got)
	}
	if r.Timestamp < before || r.Timestamp > time.Now().UnixNano() {
		t.Errorf("timestamp %d", r.Timestamp)
	}
}

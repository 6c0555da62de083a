package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// node is the two services that tell, as data.
type node struct {
	mu         sync.Mutex
	pods       map[string]*pods.Pod
	containers map[string]*containers.Container
	tellPod    func(old, now *pods.Pod)
	tell       func(old, now *containers.Container)
}

func newNode() (*node, *Bus) {
	n := &node{pods: map[string]*pods.Pod{}, containers: map[string]*containers.Container{}}
	return n, New(podService{n}, containerService{n})
}

type podService struct{ n *node }
type containerService struct{ n *node }

func (s podService) Watch(f func(old, now *pods.Pod)) { s.n.tellPod = f }
func (s podService) Get(id string) (*pods.Pod, error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if p := s.n.pods[id]; p != nil {
		return p, nil
	}
	return nil, lifecycle.ErrNotFound
}
func (s containerService) Watch(f func(old, now *containers.Container)) { s.n.tell = f }
func (s containerService) List() []*containers.Container {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	var out []*containers.Container
	for _, c := range s.n.containers {
		out = append(out, c)
	}
	return out
}

// pod changes a pod; an empty state forgets it.
func (n *node) pod(id string, s lifecycle.PodState) {
	n.mu.Lock()
	old := n.pods[id]
	var now *pods.Pod
	if delete(n.pods, id); s != "" {
		now = &pods.Pod{ID: id, State: s}
		n.pods[id] = now
	}
	n.mu.Unlock()
	n.tellPod(old, now)
}

// container changes a container of pod "p".
func (n *node) container(id string, s lifecycle.ContainerState) {
	n.mu.Lock()
	old := n.containers[id]
	var now *containers.Container
	if delete(n.containers, id); s != "" {
		now = &containers.Container{ID: id, PodID: "p", State: s}
		n.containers[id] = now
	}
	n.mu.Unlock()
	n.tell(old, now)
}

func (e *Event) String() string {
	states := []string{}
	for _, c := range e.Containers {
		states = append(states, c.ID+"="+string(c.State))
	}
	pod := "-"
	if e.Pod != nil {
		pod = string(e.Pod.State)
	}
	return fmt.Sprintf("%s %s pod=%s [%s]", e.ID, e.Kind, pod, strings.Join(states, " "))
}

func TestLifeOfAPod(t *testing.T) {
	n, b := newNode()
	n.pod("before", lifecycle.PodReady) // nobody reads yet
	r := b.Subscribe()
	defer r.Close()
	n.pod("p", lifecycle.PodReady)
	n.container("a", lifecycle.ContainerCreated)
	n.container("a", lifecycle.ContainerStarting)
	n.container("b", lifecycle.ContainerCreated)
	n.container("a", lifecycle.ContainerRunning)
	n.container("a", lifecycle.ContainerRunning) // an update
	n.container("a", lifecycle.ContainerExited)
	n.container("a", lifecycle.ContainerRemoving)
	n.container("a", "")
	n.pod("p", lifecycle.PodStopping)
	n.container("b", lifecycle.ContainerExited)
	n.pod("p", lifecycle.PodNotReady)
	n.container("b", "")
	n.pod("p", "")
	want := `p created pod=ready []
p started pod=ready []
a created pod=ready [a=created]
b created pod=ready [a=starting b=created]
a started pod=ready [a=running b=created]
a stopped pod=ready [a=exited b=created]
a deleted pod=ready [b=created]
b stopped pod=stopping [b=exited]
p stopped pod=notready [b=exited]
b deleted pod=notready []
p deleted pod=notready []`
	all, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	last := time.Time{}
	for _, e := range all {
		got = append(got, e.String())
		if !e.At.After(last) {
			t.Errorf("%s is not after the event before it", e)
		}
		last = e.At
	}
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestKinds(t *testing.T) {
	state := func(s lifecycle.ContainerState) *containers.Container { return &containers.Container{State: s} }
	ran := state(lifecycle.ContainerExited)
	ran.StartedAt = time.Unix(1, 0)
	failed := state(lifecycle.ContainerExited)
	failed.StartedAt, failed.Reason = time.Unix(1, 0), containers.StartError
	for name, tc := range map[string]struct {
		old, now *containers.Container
		want     []Kind
	}{
		"killed while it was made":     {nil, state(lifecycle.ContainerExited), []Kind{Created, Stopped}},
		"ended before it was started":  {state(lifecycle.ContainerStarting), ran, []Kind{Started, Stopped}},
		"could not be executed":        {state(lifecycle.ContainerStarting), failed, []Kind{Stopped}},
		"killed at the gate":           {state(lifecycle.ContainerCreated), state(lifecycle.ContainerExited), []Kind{Stopped}},
		"the reason of an end changes": {ran, failed, nil},
		"removed":                      {ran, state(lifecycle.ContainerRemoving), nil},
		"forgotten":                    {ran, nil, []Kind{Deleted}},
	} {
		if got := containerKinds(tc.old, tc.now); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	gone := &pods.Pod{State: lifecycle.PodNotReady}
	if got := podKinds(nil, gone); !slices.Equal(got, []Kind{Created, Started, Stopped}) {
		t.Errorf("a pod that is gone at once: %v", got)
	}
	if got := podKinds(gone, &pods.Pod{State: lifecycle.PodRemoving}); got != nil {
		t.Errorf("a pod that is removed: %v", got)
	}
}

// TestThousandASecond publishes 1,000 events a second from several sides for two seconds: a reader that
// keeps up loses none and sees each container's in order, and one that is stuck is ended at its
// limit, without a publisher waiting for it.
func TestThousandASecond(t *testing.T) {
	const sides, each, beat = 4, 500, 4 * time.Millisecond // 4 events every 4 ms
	n, b := newNode()
	n.pod("p", lifecycle.PodReady)
	reader, stuck := b.Subscribe(), b.Subscribe()
	defer reader.Close()
	defer stuck.Close()
	states := []lifecycle.ContainerState{lifecycle.ContainerCreated, lifecycle.ContainerRunning, lifecycle.ContainerExited, ""}
	slowest := make(chan time.Duration, sides)
	for side := range sides {
		go func() {
			var worst time.Duration
			tick := time.NewTicker(beat)
			defer tick.Stop()
			for i := range each {
				<-tick.C
				begun := time.Now()
				n.container(fmt.Sprintf("c%d", side), states[i%len(states)])
				worst = max(worst, time.Since(begun))
			}
			slowest <- worst
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	next, got, last := map[string]int{}, 0, time.Time{}
	for got < sides*each {
		all, err := reader.Next(ctx)
		if err != nil {
			t.Fatalf("after %d events: %v", got, err)
		}
		for _, e := range all {
			if want := Kind(next[e.ID] % 4); e.Kind != want {
				t.Fatalf("%s: %s where %s is next", e.ID, e.Kind, want)
			}
			if !e.At.After(last) {
				t.Fatal("events are not in the order of their times")
			}
			next[e.ID]++
			got++
			last = e.At
		}
	}
	for range sides {
		if worst := <-slowest; worst > time.Second {
			t.Errorf("a publisher waited %s", worst)
		}
	}
	for range QueueLimit { // far beyond what the stuck reader may be behind
		n.container("more", lifecycle.ContainerCreated)
		n.container("more", "")
		if _, err := reader.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	<-stuck.Lost()
	if _, err := stuck.Next(ctx); !errors.Is(err, lifecycle.ErrExhausted) {
		t.Errorf("the stuck reader got %v", err)
	}
	if len(stuck.queue) != 0 {
		t.Errorf("%d events are still kept for it", len(stuck.queue))
	}
	if len(b.readers) != 1 {
		t.Errorf("%d readers, want the one that keeps up", len(b.readers))
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	_, b := newNode()
	r := b.Subscribe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.Close()
	r.Close()
	if len(b.readers) != 0 {
		t.Error("the reader is still there")
	}
}

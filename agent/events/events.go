// Package events tells readers what happens to pods and containers, as kubelet's evented PLEG
// (KEP-3386) wants it: created, started, stopped and deleted, for a pod's sandbox as for a container,
// each with snapshots of the pod and of all its containers. It keeps no history: a reader lists first.
//
// Not its job: states (it is told of them by the services' inventories) and CRI's messages.
// Locking: Bus.mu orders all events and guards the set of readers; it is held while the snapshots
// are taken, so that of two events of a pod the later one is the newer truth. Nobody waits for a
// reader: each has a queue of its own, and one that is QueueLimit events behind is ended.
package events

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/pods"
)

// QueueLimit is how many events a reader may be behind: 16 seconds at 1,000 events a second.
const QueueLimit = 16384

// Kind is what happened.
type Kind int

// Kinds of events.
const (
	Created Kind = iota
	Started
	Stopped
	Deleted
)

func (k Kind) String() string {
	return [...]string{"created", "started", "stopped", "deleted"}[k]
}

// Event is one thing that happened, with the state of its pod at that time. It is immutable.
type Event struct {
	ID         string // of the container, or of the pod itself
	Kind       Kind
	At         time.Time               // strictly later than the event before
	Pod        *pods.Pod               // nil where a container outlived its pod's record
	Containers []*containers.Container // all of the pod's, oldest first; a deleted one is not among them
}

// Pods is what events need of agent/pods.
type Pods interface {
	Get(id string) (*pods.Pod, error)
	Watch(func(old, now *pods.Pod))
}

// Containers is what events need of agent/containers.
type Containers interface {
	List() []*containers.Container
	Watch(func(old, now *containers.Container))
}

// Bus is the service. Use New.
type Bus struct {
	pods       Pods
	containers Containers

	mu      sync.Mutex
	last    time.Time
	readers map[*Reader]struct{}
}

// New makes the bus and has it told of every change; call it before pods and containers are in use.
func New(p Pods, c Containers) *Bus {
	b := &Bus{pods: p, containers: c, readers: map[*Reader]struct{}{}}
	p.Watch(b.podChanged)
	c.Watch(b.containerChanged)
	return b
}

func (b *Bus) podChanged(old, now *pods.Pod) {
	v := now
	if v == nil {
		v = old
	}
	b.publish(podKinds(old, now), v.ID, v.ID, v)
}

func (b *Bus) containerChanged(old, now *containers.Container) {
	v := now
	if v == nil {
		v = old
	}
	b.publish(containerKinds(old, now), v.ID, v.PodID, nil)
}

// publish queues one event for each kind. pod may be nil, and is looked up then.
func (b *Bus) publish(kinds []Kind, id, podID string, pod *pods.Pod) {
	if len(kinds) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.readers) == 0 {
		return
	}
	if pod == nil {
		pod, _ = b.pods.Get(podID) // unknown: the event goes without
	}
	inside := b.inside(podID)
	for _, k := range kinds {
		e := &Event{ID: id, Kind: k, At: b.now(), Pod: pod, Containers: inside}
		for r := range b.readers {
			if !r.push(e) {
				delete(b.readers, r)
			}
		}
	}
}

// now is the time, later than at the call before even where the clock stood or went back.
func (b *Bus) now() time.Time {
	t := time.Now().Round(0)
	if !t.After(b.last) {
		t = b.last.Add(1)
	}
	b.last = t
	return t
}

func (b *Bus) inside(podID string) []*containers.Container {
	return Inside(b.containers.List(), podID)
}

// Inside are the containers of one pod out of all, oldest first.
func Inside(all []*containers.Container, podID string) []*containers.Container {
	var out []*containers.Container
	for _, c := range all {
		if c.PodID == podID {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *containers.Container) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

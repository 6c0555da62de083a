package containers

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/record"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Runtime is what containers need of agent/runtime.
type Runtime interface {
	Create(ctx context.Context, s runtime.ContainerSpec) (pid int, err error)
	Start(ctx context.Context, id string) (time.Time, error)
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	KillAll(ctx context.Context, id, cgroupPath string) error
	Delete(ctx context.Context, id, cgroupPath string) error
	// Change is all or nothing; undo takes it back.
	Change(ctx context.Context, cgroupPath string, r *specs.LinuxResources, score *runtime.OOMScore) (undo func() error, err error)
	ReopenLog(ctx context.Context, id string) error
	Exec(ctx context.Context, id string, e runtime.ExecSpec, s *specs.Spec) (*runtime.Exec, error)
	KillExec(ctx context.Context, execID string) error
	Attach(ctx context.Context, id string, stdin bool) (*runtime.Attachment, error)
	Resize(ctx context.Context, id string, rows, cols uint16) error
}

// Pods is what containers need of the pods they are in.
type Pods interface {
	Get(id string) (*pods.Pod, error)
	Hold(ctx context.Context, id string) (*pods.Pod, func(), error)
	Files(p *pods.Pod) pods.Files
}

// Options are the services that containers stand on.
type Options struct {
	Layout  layout.Layout
	Runtime Runtime
	Images  images.Service
	Pods    Pods
	Hooks   Hooks // nil = none
	Host    ocispec.Host
	// Relabel is runtime.Relabel; nil refuses containers that need it.
	Relabel func(path, label string) error
	// Handlers are Host as the runtime handlers change it, by name; nil = Host for all.
	Handlers map[string]ocispec.Host
	BootID   string
	Log      *logrus.Entry
}

// Containers is the service.
type Containers struct {
	o     Options
	store *record.Store
	save  func(id string, v *Container) error // writeRecord; tests make it fail
	inv   *inventory.Inventory[Container]
	users userFiles

	mu   sync.Mutex
	ends map[string]*end // by container id, from its creation until it is removed
}

// end is what waits for a container's end.
type end struct {
	exited  chan struct{} // closed when the exit is recorded
	once    sync.Once
	told    sync.Once   // hooks, of the stop
	reclaim sync.Mutex  // one Delete at a time
	spec    *specs.Spec // read at the first exec and kept
}

// New makes the service; Load reads what is on disk.
func New(o Options) *Containers {
	if o.Hooks == nil {
		o.Hooks = noHooks{}
	}
	c := &Containers{o: o, store: newStore(o.Layout.ContainerRecords()), ends: map[string]*end{}}
	c.users.images = o.Images
	c.save = c.writeRecord
	c.inv = inventory.New("container", func(id string, v *Container) error { return c.save(id, v) })
	return c
}

func (c *Containers) writeRecord(id string, v *Container) error {
	payload, err := encode(v, c.o.BootID)
	if err != nil {
		return err
	}
	return c.store.Write(id, payload)
}

// Get returns the container of an id or of a unique beginning of one.
func (c *Containers) Get(id string) (*Container, error) {
	e, err := c.inv.Find(id)
	if err != nil {
		return nil, err
	}
	return e.Snapshot(), nil
}

// List returns all containers whose creation is complete, in no order.
func (c *Containers) List() []*Container { return c.inv.List() }

// ofPod are the entries of one pod's containers, those being created left out: the pod's
// slot, which the caller holds, keeps creations away.
func (c *Containers) ofPod(podID string) []*inventory.Entry[Container] {
	var out []*inventory.Entry[Container]
	for _, v := range c.inv.List() {
		if v.PodID != podID {
			continue
		}
		if e := c.inv.Peek(v.ID); e != nil {
			out = append(out, e)
		}
	}
	return out
}

func (c *Containers) newEnd(id string) *end {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &end{exited: make(chan struct{})}
	c.ends[id] = x
	return x
}

// end is nil for a container that is forgotten, which an exit or a reader may come too late for.
func (c *Containers) end(id string) *end {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends[id]
}

func (x *end) close() { x.once.Do(func() { close(x.exited) }) }

func (c *Containers) dropEnd(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, id)
}

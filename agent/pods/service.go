package pods

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/record"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Runtime is what pods need of agent/runtime.
type Runtime interface {
	CreateSandbox(ctx context.Context, s runtime.SandboxSpec) (*runtime.Sandbox, error)
	ReleaseSandbox(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, s runtime.SandboxSpec) error
	// Change is all or nothing; undo takes it back.
	Change(ctx context.Context, cgroupPath string, r *specs.LinuxResources, score *runtime.OOMScore) (undo func() error, err error)
}

// Containers is what pods need of the containers inside them.
type Containers interface {
	// StopPod ends every container of the pod at once, without grace.
	StopPod(ctx context.Context, podID string) error
	// RemovePod removes every container of the pod.
	RemovePod(ctx context.Context, podID string) error
}

// Shm mounts and unmounts a pod's /dev/shm; a seam for tests without root.
type Shm interface {
	Mount(dir string, size int64) error
	Unmount(dir string) error
}

// Options are the services that pods stand on.
type Options struct {
	Layout  layout.Layout
	Runtime Runtime
	Network network.Network
	Shm     Shm
	Hooks   Hooks // nil = none
	Host    ocispec.Host
	BootID  string
	Log     *logrus.Entry
}

// Pods is the service.
type Pods struct {
	o          Options
	store      *record.Store
	inv        *inventory.Inventory[Pod]
	save       func(id string, v *Pod) error // writeRecord; tests make it fail
	containers Containers
	told       sync.Map // ids of the pods whose stop hooks were told of

	rebooted map[*inventory.Entry[Pod]]bool // of an earlier boot and not given back yet; Load's and Finish's
}

// New makes the service; Restore reads what is on disk.
func New(o Options) *Pods {
	if o.Hooks == nil {
		o.Hooks = noHooks{}
	}
	p := &Pods{o: o, store: newStore(o.Layout.PodRecords()), rebooted: map[*inventory.Entry[Pod]]bool{}}
	p.save = p.writeRecord
	p.inv = inventory.New("pod", func(id string, v *Pod) error { return p.save(id, v) })
	return p
}

func (p *Pods) writeRecord(id string, v *Pod) error {
	payload, err := encode(v, p.o.BootID)
	if err != nil {
		return err
	}
	return p.store.Write(id, payload)
}

// SetContainers completes the circle: containers know pods, pods end their containers.
func (p *Pods) SetContainers(c Containers) { p.containers = c }

// Get returns the pod of an id or of a unique beginning of one.
func (p *Pods) Get(id string) (*Pod, error) {
	e, err := p.inv.Find(id)
	if err != nil {
		return nil, err
	}
	return e.Snapshot(), nil
}

// List returns all pods whose start is complete, in no order.
func (p *Pods) List() []*Pod { return p.inv.List() }

// Hold takes the pod's operation slot, so that its state stays as it is while a container is
// made in it, and returns the pod as it then is.
func (p *Pods) Hold(ctx context.Context, id string) (*Pod, func(), error) {
	e, err := p.inv.Find(id)
	if err != nil {
		return nil, nil, err
	}
	release, err := e.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return e.Snapshot(), release, nil
}

// Node's /etc/resolv.conf, for pods that bring no DNS configuration.
func hostResolvConf() ([]byte, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the node's resolver configuration: %w", err)
	}
	return data, nil
}

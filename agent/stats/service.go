package stats

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// How long a call waits for sizes of writable layers that were never measured.
const (
	waitOne  = 100 * time.Millisecond
	waitList = 15 * time.Millisecond
)

// Pods is what stats need of agent/pods.
type Pods interface {
	Get(id string) (*pods.Pod, error)
	List() []*pods.Pod
}

// Containers is what stats need of agent/containers.
type Containers interface {
	Get(id string) (*containers.Container, error)
	List() []*containers.Container
}

// Runtime is what stats need of agent/runtime.
type Runtime interface {
	// Usage reads a cgroup; lifecycle.ErrNotFound where there is none.
	Usage(cgroupPath string) (*runtime.Usage, error)
	// Detail reads all of it; with processes it looks at each of those too.
	Detail(cgroupPath string, processes bool) (*runtime.Detail, error)
}

// Options are the services that stats read from.
type Options struct {
	Layout     layout.Layout
	Pods       Pods
	Containers Containers
	Runtime    Runtime
}

// Stats is the service.
type Stats struct {
	o     Options
	rates rates
	disk  disk
	// counters reads the links of network namespaces, by pin; a seam for tests without root.
	counters func(ctx context.Context, pins []string) (map[string][]Interface, error)
}

// New makes the service; it starts nothing.
func New(o Options) *Stats { return &Stats{o: o, counters: readCounters} }

// Container is one container's usage. lifecycle.ErrNotFound for an unknown id.
func (s *Stats) Container(_ context.Context, id string) (*Container, error) {
	c, err := s.o.Containers.Get(id)
	if err != nil {
		return nil, err
	}
	out, err := s.container(c, time.Now().Add(waitOne))
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// Containers is the usage of the containers that filter (nil: all) lets pass.
func (s *Stats) Containers(ctx context.Context, filter func(*containers.Container) bool) ([]Container, error) {
	var out []Container
	until := time.Now().Add(waitList)
	for _, c := range s.o.Containers.List() {
		if filter != nil && !filter(c) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st, err := s.container(c, until)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// Pod is one pod's usage with its containers'. lifecycle.ErrNotFound for an unknown id.
func (s *Stats) Pod(ctx context.Context, id string) (*Pod, error) {
	p, err := s.o.Pods.Get(id)
	if err != nil {
		return nil, err
	}
	all, err := s.pods(ctx, []*pods.Pod{p}, time.Now().Add(waitOne))
	if err != nil {
		return nil, err
	}
	return &all[0], nil
}

// Pods is the usage of the pods that filter (nil: all) lets pass.
func (s *Stats) Pods(ctx context.Context, filter func(*pods.Pod) bool) ([]Pod, error) {
	var chosen []*pods.Pod
	for _, p := range s.o.Pods.List() {
		if filter == nil || filter(p) {
			chosen = append(chosen, p)
		}
	}
	return s.pods(ctx, chosen, time.Now().Add(waitList))
}

func (s *Stats) pods(ctx context.Context, chosen []*pods.Pod, until time.Time) ([]Pod, error) {
	var pins []string
	index := make(map[string]int, len(chosen))
	out := make([]Pod, len(chosen))
	for i, p := range chosen {
		out[i].Pod, index[p.ID] = p, i
		if p.State != lifecycle.PodReady {
			continue
		}
		if p.NetNS != "" {
			pins = append(pins, p.NetNS)
		}
		var err error
		if out[i].Usage, out[i].NanoCores, err = s.usage(p.CgroupPath); err != nil {
			return nil, err
		}
	}
	links, err := s.counters(ctx, pins)
	if err != nil {
		return nil, err
	}
	for i, p := range chosen {
		out[i].Interfaces = primaryFirst(links[p.NetNS], p)
	}
	for _, c := range s.o.Containers.List() {
		i, ok := index[c.PodID]
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st, err := s.container(c, until)
		if err != nil {
			return nil, err
		}
		out[i].Containers = append(out[i].Containers, st)
	}
	return out, nil
}

func (s *Stats) container(c *containers.Container, until time.Time) (Container, error) {
	out := Container{Container: c, WritableDir: filepath.Join(s.o.Layout.ContainerDir(c.ID), "upper")}
	if c.State == lifecycle.ContainerRunning {
		var err error
		if out.Usage, out.NanoCores, err = s.usage(c.CgroupPath); err != nil {
			return out, err
		}
	}
	size := s.disk.size(out.WritableDir, until)
	out.WritableBytes, out.WritableInodes, out.WritableAt = size.bytes, size.inodes, size.at
	return out, nil
}

// usage reads a cgroup; nil where there is none (any more): a list must not fail because
// one of its entries has just ended.
func (s *Stats) usage(cgroup string) (*runtime.Usage, uint64, error) {
	if cgroup == "" {
		return nil, 0, nil
	}
	u, err := s.o.Runtime.Usage(cgroup)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return u, s.rates.rate(cgroup, u.At, u.CPUNanos), nil
}

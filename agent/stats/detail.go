package stats

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// ContainerDetail is everything that is counted of one running container.
type ContainerDetail struct {
	Container     *containers.Container
	Detail        *runtime.Detail // nil where it has just ended
	WritableBytes uint64
	WritableAt    time.Time // zero: not known yet
	OpenFiles     *uint64   // the soft limit of its first process; nil where that is gone
}

// PodDetail is everything that is counted of one ready pod.
type PodDetail struct {
	Pod        *pods.Pod
	Detail     *runtime.Detail // of the pod's cgroup, without processes; nil where it is gone
	Interfaces []Interface     // eth0 first
	Containers []ContainerDetail
}

// Details is every figure of every ready pod.
type Details struct {
	Pods       []PodDetail
	Filesystem Filesystem // where containers write
}

// Details reads all figures of all ready pods and their running containers: a monitoring system's
// question of every half minute, at several times the cost of Pods.
func (s *Stats) Details(ctx context.Context) (*Details, error) {
	out := &Details{}
	until := time.Now().Add(waitOne)
	var pins []string
	index := map[string]int{}
	for _, p := range s.o.Pods.List() {
		if p.State != lifecycle.PodReady {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := PodDetail{Pod: p}
		var err error
		if d.Detail, err = s.detail(p.CgroupPath, false); err != nil {
			return nil, err
		}
		if p.NetNS != "" {
			pins = append(pins, p.NetNS)
		}
		index[p.ID] = len(out.Pods)
		out.Pods = append(out.Pods, d)
	}
	if len(out.Pods) == 0 {
		return out, nil
	}
	links, err := s.counters(ctx, pins)
	if err != nil {
		return nil, err
	}
	for i := range out.Pods {
		out.Pods[i].Interfaces = primaryFirst(links[out.Pods[i].Pod.NetNS], out.Pods[i].Pod)
	}
	for _, c := range s.o.Containers.List() {
		i, ok := index[c.PodID]
		if !ok || c.State != lifecycle.ContainerRunning {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := s.containerDetail(c, until)
		if err != nil {
			return nil, err
		}
		out.Pods[i].Containers = append(out.Pods[i].Containers, d)
	}
	out.Filesystem, err = filesystem(s.o.Layout.Root)
	return out, err
}

func (s *Stats) containerDetail(c *containers.Container, until time.Time) (ContainerDetail, error) {
	out := ContainerDetail{Container: c}
	var err error
	if out.Detail, err = s.detail(c.CgroupPath, true); err != nil {
		return out, err
	}
	size := s.disk.size(filepath.Join(s.o.Layout.ContainerDir(c.ID), "upper"), until)
	out.WritableBytes, out.WritableAt = size.bytes, size.at
	if c.Pid > 0 {
		out.OpenFiles = openFiles(c.Pid)
	}
	return out, nil
}

// detail is nil where there is no cgroup (any more), as in usage.
func (s *Stats) detail(cgroup string, processes bool) (*runtime.Detail, error) {
	if cgroup == "" {
		return nil, nil
	}
	d, err := s.o.Runtime.Detail(cgroup, processes)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, nil
	}
	return d, err
}

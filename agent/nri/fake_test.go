package nri

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// node is the pods and containers that plugins are shown, and what was done to them.
type node struct {
	mu         sync.Mutex
	pods       []*pods.Pod
	containers []*containers.Container
	specs      map[string]*specs.Spec
	adjusted   map[string]*specs.LinuxResources
	stopped    []string
	slow       chan struct{} // Adjust waits for it, or for its context
}

// The two collections have a Get each.
type (
	nodePods       struct{ *node }
	nodeContainers struct{ *node }
)

func (n nodePods) Get(id string) (*pods.Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pod %s: %w", id, lifecycle.ErrNotFound)
}

func (n nodePods) List() []*pods.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.pods)
}

func (n nodeContainers) Get(id string) (*containers.Container, error) {
	for _, c := range n.List() {
		if c.ID == id {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s: %w", id, lifecycle.ErrNotFound)
}

func (n nodeContainers) List() []*containers.Container {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.containers)
}

func (n nodeContainers) Spec(id string) (*specs.Spec, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.specs[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("spec of %s: %w", id, lifecycle.ErrNotFound)
}

func (n nodeContainers) Adjust(ctx context.Context, id string, r *specs.LinuxResources) error {
	if n.slow != nil {
		select {
		case <-n.slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.adjusted[id] = r
	return nil
}

func (n nodeContainers) Stop(_ context.Context, id string, _ time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = append(n.stopped, id)
	return nil
}

func (n *node) add(c *containers.Container) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.containers = append(n.containers, c)
}

func newNode() *node {
	return &node{
		pods: []*pods.Pod{{
			ID: "pod1", State: lifecycle.PodReady, NetNS: "/pins/net", CgroupPath: "/slipway/podpod1",
			Config: &runtimeapi.PodSandboxConfig{
				Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "u1"},
				Labels:   map[string]string{"app": "web"},
				Linux:    &runtimeapi.LinuxPodSandboxConfig{Overhead: &runtimeapi.LinuxContainerResources{CpuShares: 10}},
			},
		}},
		specs:    map[string]*specs.Spec{},
		adjusted: map[string]*specs.LinuxResources{},
	}
}

func aContainer(id string, s lifecycle.ContainerState) *containers.Container {
	return &containers.Container{
		ID: id, PodID: "pod1", State: s, CgroupPath: "/slipway/podpod1/" + id, CreatedAt: time.Unix(100, 0),
		ImageID: "sha256:1", ImageRef: "r/busybox@sha256:2",
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "name-" + id},
			Image:    &runtimeapi.ImageSpec{Image: "sha256:1", UserSpecifiedImage: "busybox"},
			Labels:   map[string]string{"tier": "front"},
		},
	}
}

func aSpec() *specs.Spec {
	return &specs.Spec{
		Process: &specs.Process{Args: []string{"sleep", "1"}, Env: []string{"A=1", "B=2"}},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/mnt/old", Type: "bind", Source: "/old"}},
		Linux: &specs.Linux{
			CgroupsPath: "/slipway/podpod1/new", Resources: &specs.LinuxResources{},
			Devices:    []specs.LinuxDevice{{Path: "/dev/old", Type: "c", Major: 1, Minor: 3}},
			Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
		},
		Annotations: map[string]string{"kept": "yes", "gone": "soon"},
	}
}

func quiet(t *testing.T) *logrus.Entry {
	t.Helper()
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

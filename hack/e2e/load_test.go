package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cycle is what kubelet does for a pod of one container, from nothing to nothing; between start and
// stop it calls use, which may be nil.
func (n *node) cycle(ctx context.Context, name string, use func(containerID string) error) error {
	cfg := n.podConfig(name, nil)
	r, err := n.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: cfg})
	if err != nil {
		return fmt.Errorf("RunPodSandbox: %w", err)
	}
	p := &pod{node: n, id: r.PodSandboxId, cfg: cfg}
	c, err := n.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("c", forever, nil), SandboxConfig: cfg})
	if err != nil {
		return fmt.Errorf("CreateContainer: %w", err)
	}
	if _, err := n.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return fmt.Errorf("StartContainer: %w", err)
	}
	if use != nil {
		if err := use(c.ContainerId); err != nil {
			return err
		}
	}
	if _, err := n.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return fmt.Errorf("StopContainer: %w", err)
	}
	if _, err := n.runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return fmt.Errorf("RemoveContainer: %w", err)
	}
	return n.takeDown(ctx, p.id)
}

// takeDown stops and removes a pod.
func (n *node) takeDown(ctx context.Context, id string) error {
	if _, err := n.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("StopPodSandbox: %w", err)
	}
	if _, err := n.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("RemovePodSandbox: %w", err)
	}
	return nil
}

// execTrue makes sure that the container's program runs.
func (n *node) execTrue(ctx context.Context) func(string) error {
	return func(id string) error {
		r, err := n.runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}})
		if err == nil && r.ExitCode != 0 {
			err = fmt.Errorf("exit code %d", r.ExitCode)
		}
		if err != nil {
			return fmt.Errorf("ExecSync: %w", err)
		}
		return nil
	}
}

func TestFiftyPodsInTurn(t *testing.T) {
	n := startNode(t)
	n.pull()
	for i := range scaled(50, 8) {
		if err := n.cycle(n.ctx, fmt.Sprintf("turn%d", i), n.execTrue(n.ctx)); err != nil {
			t.Fatalf("pod %d: %v", i, err)
		}
	}
}

// All forty stay until the last has started, so that addresses, names and cgroups must all be different.
func TestFortyPodsEightAtOnce(t *testing.T) {
	pods, workers := scaled(40, 12), 8
	n := startNode(t)
	n.pull()
	var mu sync.Mutex
	ips := map[string]bool{}
	all := make(chan struct{})
	started := 0
	meet := func(id string) error {
		if err := n.execTrue(n.ctx)(id); err != nil {
			return err
		}
		ip, err := n.addressOf(id)
		mu.Lock()
		ips[ip] = true
		if started++; started == pods {
			close(all)
		}
		mu.Unlock()
		return err
	}
	slots := make(chan struct{}, workers)
	errs := make(chan error, pods)
	for i := range pods {
		go func() {
			slots <- struct{}{}
			released := sync.OnceFunc(func() { <-slots })
			defer released()
			errs <- n.cycle(n.ctx, fmt.Sprintf("at-once%d", i), func(id string) error {
				if err := meet(id); err != nil {
					return err
				}
				released()
				select {
				case <-all:
				case <-n.ctx.Done():
					return n.ctx.Err()
				}
				return nil
			})
		}()
	}
	var failed []error
	for range pods {
		if err := <-errs; err != nil {
			failed = append(failed, err)
			n.t.Errorf("%v", err)
		}
		if len(failed) > 0 && started < pods {
			t.Fatalf("not all pods will start: %v", errors.Join(failed...))
		}
	}
	if len(ips) != pods {
		t.Errorf("%d different addresses for %d pods", len(ips), pods)
	}
}

// addressOf is the address of the container's pod.
func (n *node) addressOf(containerID string) (string, error) {
	r, err := n.runtime.ListContainers(n.ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: containerID}})
	if err != nil || len(r.Containers) != 1 {
		return "", fmt.Errorf("ListContainers: %v, %w", r, err)
	}
	s, err := n.runtime.PodSandboxStatus(n.ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: r.Containers[0].PodSandboxId})
	if err != nil {
		return "", fmt.Errorf("PodSandboxStatus: %w", err)
	}
	return s.Status.GetNetwork().GetIp(), nil
}

package e2e

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func runRequest(cfg *podConfig) *runtimeapi.RunPodSandboxRequest {
	return &runtimeapi.RunPodSandboxRequest{Config: cfg}
}

// wantPods fails unless there are so many pods.
func (n *node) wantPods(count int) {
	n.t.Helper()
	r, err := n.runtime.ListPodSandbox(n.ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(r.Items) != count {
		n.t.Errorf("%d pods, want %d: %v", len(r.GetItems()), count, err)
	}
}

func TestSamePodTwice(t *testing.T) {
	n := startNode(t)
	p := n.runPod("one", nil)
	again, err := n.runtime.RunPodSandbox(n.ctx, runRequest(p.cfg))
	if err != nil || again.PodSandboxId != p.id {
		t.Errorf("a second time: %v, %v, want %s", again, err, p.id)
	}
	other := n.podConfig("one", func(c *podConfig) { c.Hostname = "other" })
	_, err = n.runtime.RunPodSandbox(n.ctx, runRequest(other))
	wantCode(t, err, codes.AlreadyExists)
	n.wantPods(1)

	cfg := n.podConfig("both", nil)
	type answer struct {
		r   *runtimeapi.RunPodSandboxResponse
		err error
	}
	answers := make(chan answer)
	for range 2 {
		go func() {
			r, err := n.runtime.RunPodSandbox(n.ctx, runRequest(cfg))
			answers <- answer{r, err}
		}()
	}
	a, b := <-answers, <-answers
	if a.err != nil || b.err != nil || a.r.PodSandboxId != b.r.PodSandboxId {
		t.Fatalf("two at once: %v", []answer{a, b})
	}
	n.wantPods(2)
	(&pod{node: n, id: a.r.PodSandboxId}).remove()
}

// A client that gives up in the middle, at different points, and asks again gets what it wanted, once.
func TestDeadlineThenRetry(t *testing.T) {
	n := startNode(t)
	n.pull()
	cut := 0
	for i := range 12 {
		d := time.Duration(i+1) * 500 * time.Microsecond
		cfg := n.podConfig("cut", nil)
		cfg.Metadata.Attempt = uint32(i)
		ctx, cancel := context.WithTimeout(n.ctx, d)
		if _, err := n.runtime.RunPodSandbox(ctx, runRequest(cfg)); err != nil {
			wantCode(t, err, codes.DeadlineExceeded)
			cut++
		}
		cancel()
		r, err := n.runtime.RunPodSandbox(n.ctx, runRequest(cfg))
		if err != nil {
			t.Fatalf("retry after %s: %v", d, err)
		}
		p := &pod{node: n, id: r.PodSandboxId, cfg: cfg}
		n.wantPods(1)
		c := p.retryContainer(d)
		if r, err := n.runtime.ListContainers(n.ctx, &runtimeapi.ListContainersRequest{}); err != nil || len(r.Containers) != 1 {
			t.Errorf("containers: %v, %v", r, err)
		}
		if got := c.sh("echo here"); got != "here" {
			t.Errorf("exec: %q", got)
		}
		p.retryRemove(d)
		n.wantPods(0)
	}
	if cut == 0 {
		t.Errorf("no call was cut off")
	}
}

func (p *pod) retryContainer(d time.Duration) *container {
	p.t.Helper()
	request := &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("c", forever, nil), SandboxConfig: p.cfg}
	var id string
	twice(p.node, d, "CreateContainer", func(ctx context.Context) error {
		r, err := p.runtime.CreateContainer(ctx, request)
		id = r.GetContainerId()
		return err
	})
	twice(p.node, d, "StartContainer", func(ctx context.Context) error {
		_, err := p.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
		return err
	})
	return &container{pod: p, id: id}
}

func (p *pod) retryRemove(d time.Duration) {
	p.t.Helper()
	twice(p.node, d, "StopPodSandbox", func(ctx context.Context) error {
		_, err := p.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.id})
		return err
	})
	twice(p.node, d, "RemovePodSandbox", func(ctx context.Context) error {
		_, err := p.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.id})
		return err
	})
}

// twice makes a call that may be cut off after d, and then one that must succeed.
func twice(n *node, d time.Duration, name string, call func(context.Context) error) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, d)
	defer cancel()
	if err := call(ctx); err != nil && status.Code(err) != codes.DeadlineExceeded {
		n.t.Errorf("%s with a deadline of %s: %v", name, d, err)
	}
	if err := call(n.ctx); err != nil {
		n.t.Fatalf("%s again: %v", name, err)
	}
}

func TestUnknownAndWrongState(t *testing.T) {
	n := startNode(t)
	n.pull()
	unknown := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, call := range map[string]func() error{
		"StopContainer": func() error {
			_, err := n.runtime.StopContainer(n.ctx, &runtimeapi.StopContainerRequest{ContainerId: unknown})
			return err
		},
		"RemoveContainer": func() error {
			_, err := n.runtime.RemoveContainer(n.ctx, &runtimeapi.RemoveContainerRequest{ContainerId: unknown})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s of what is not there: %v", name, err)
		}
	}
	(&pod{node: n, id: unknown}).remove()
	_, err := n.runtime.StartContainer(n.ctx, &runtimeapi.StartContainerRequest{ContainerId: unknown})
	wantCode(t, err, codes.NotFound, unknown)
	_, err = n.runtime.PodSandboxStatus(n.ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: unknown})
	wantCode(t, err, codes.NotFound, unknown)

	p := n.runPod("states", nil)
	c := p.create("c", forever, nil)
	if again := p.create("c", forever, nil); again.id != c.id {
		t.Errorf("the same container again is %s, want %s", again.id, c.id)
	}
	c.start()
	c.start() // of what runs: no error
	_, err = n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("c", forever, nil), SandboxConfig: p.cfg})
	wantCode(t, err, codes.AlreadyExists, c.id) // what has been started is not what a creation asks for
	c.stop(0)
	_, err = n.runtime.StartContainer(n.ctx, &runtimeapi.StartContainerRequest{ContainerId: c.id})
	wantCode(t, err, codes.FailedPrecondition)
	_, err = n.runtime.ExecSync(n.ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"true"}})
	wantCode(t, err, codes.FailedPrecondition)
	for range 2 {
		if _, err := n.runtime.StopPodSandbox(n.ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("StopPodSandbox: %v", err)
		}
	}
	_, err = n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("late", forever, nil), SandboxConfig: p.cfg})
	wantCode(t, err, codes.FailedPrecondition)
	if s := p.status(); s.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("the stopped pod is %s", s.State)
	}
}

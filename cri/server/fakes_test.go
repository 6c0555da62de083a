package server

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/stats"
)

// journal records the services' calls, one line each; err is what each verb then returns,
// and panics makes it panic.
type journal struct {
	mu     sync.Mutex
	lines  []string
	err    error
	panics bool
}

func (j *journal) call(format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	if j.panics {
		panic("a bug")
	}
	return j.err
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := strings.Join(j.lines, "\n")
	j.lines = nil
	return s
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}

type fakePods struct {
	*journal
	list []*pods.Pod
	tell func(old, now *pods.Pod)
}

func (f *fakePods) Watch(tell func(old, now *pods.Pod)) { f.tell = tell }

func (f *fakePods) Run(_ context.Context, cfg *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	return "newpod", f.call("pods.Run %s/%s %q", cfg.GetMetadata().GetNamespace(), cfg.GetMetadata().GetName(), handler)
}
func (f *fakePods) Stop(_ context.Context, id string) error   { return f.call("pods.Stop %s", id) }
func (f *fakePods) Remove(_ context.Context, id string) error { return f.call("pods.Remove %s", id) }
func (f *fakePods) Update(_ context.Context, id string, overhead, r *runtimeapi.LinuxContainerResources) error {
	return f.call("pods.Update %s overhead=%d shares=%d", id, overhead.GetMemoryLimitInBytes(), r.GetCpuShares())
}
func (f *fakePods) List() []*pods.Pod { return f.list }
func (f *fakePods) Get(id string) (*pods.Pod, error) {
	for _, p := range f.list {
		if strings.HasPrefix(p.ID, id) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pod %s: %w", id, lifecycle.ErrNotFound)
}

type fakeContainers struct {
	*journal
	list        []*containers.Container
	out, errOut []byte
	tell        func(old, now *containers.Container)
}

func (f *fakeContainers) Watch(tell func(old, now *containers.Container)) { f.tell = tell }

func (f *fakeContainers) Create(_ context.Context, podID string, cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	return "newcontainer", f.call("containers.Create %s %s of %s", podID, cfg.GetMetadata().GetName(), pod.GetMetadata().GetName())
}
func (f *fakeContainers) Start(_ context.Context, id string) error {
	return f.call("containers.Start %s", id)
}
func (f *fakeContainers) Stop(_ context.Context, id string, grace time.Duration) error {
	return f.call("containers.Stop %s %s", id, grace)
}
func (f *fakeContainers) Remove(_ context.Context, id string) error {
	return f.call("containers.Remove %s", id)
}
func (f *fakeContainers) List() []*containers.Container { return f.list }
func (f *fakeContainers) Get(id string) (*containers.Container, error) {
	for _, c := range f.list {
		if strings.HasPrefix(c.ID, id) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s: %w", id, lifecycle.ErrNotFound)
}
func (f *fakeContainers) Update(_ context.Context, id string, r *runtimeapi.LinuxContainerResources, a map[string]string) error {
	return f.call("containers.Update %s shares=%d %v", id, r.GetCpuShares(), a)
}
func (f *fakeContainers) Spec(id string) (*specs.Spec, error) {
	return &specs.Spec{Version: "1.3.0", Hostname: id}, f.call("containers.Spec %s", id)
}
func (f *fakeContainers) ReopenLog(_ context.Context, id string) error {
	return f.call("containers.ReopenLog %s", id)
}
func (f *fakeContainers) ExecSync(_ context.Context, id string, cmd []string, timeout time.Duration) ([]byte, []byte, int32, error) {
	return f.out, f.errOut, 3, f.call("containers.ExecSync %s %q %s", id, cmd, timeout)
}

type fakeImages struct {
	*journal
	list []*images.Image
}

func (f *fakeImages) Pull(_ context.Context, ref string, auth *images.Auth, _ images.Progress) (*images.Image, error) {
	if err := f.call("images.Pull %s auth=%v", ref, auth != nil); err != nil {
		return nil, err
	}
	return f.list[0], nil
}
func (f *fakeImages) Get(ref string) (*images.Image, error) {
	for _, i := range f.list {
		if ref == i.ID {
			return i, nil
		}
		for _, t := range i.RepoTags {
			if t == ref {
				return i, nil
			}
		}
	}
	return nil, fmt.Errorf("image %s: %w", ref, lifecycle.ErrNotFound)
}
func (f *fakeImages) List() []*images.Image { return f.list }
func (f *fakeImages) Remove(_ context.Context, ref string) error {
	return f.call("images.Remove %s", ref)
}
func (f *fakeImages) FSInfo() (images.FSInfo, error) {
	return images.FSInfo{Mountpoint: "/images", UsedBytes: 4096, Inodes: 7, At: time.Unix(1, 0)}, f.call("images.FSInfo")
}

type fakeStats struct {
	*journal
	pods       *fakePods
	containers *fakeContainers
}

func (f *fakeStats) Container(_ context.Context, id string) (*stats.Container, error) {
	c, err := f.containers.Get(id)
	if err != nil {
		return nil, err
	}
	return &stats.Container{Container: c}, f.call("stats.Container %s", id)
}
func (f *fakeStats) Containers(_ context.Context, filter func(*containers.Container) bool) ([]stats.Container, error) {
	var out []stats.Container
	for _, c := range f.containers.list {
		if filter(c) {
			out = append(out, stats.Container{Container: c})
		}
	}
	return out, f.call("stats.Containers")
}
func (f *fakeStats) Pod(_ context.Context, id string) (*stats.Pod, error) {
	p, err := f.pods.Get(id)
	if err != nil {
		return nil, err
	}
	return &stats.Pod{Pod: p}, f.call("stats.Pod %s", id)
}
func (f *fakeStats) Pods(_ context.Context, filter func(*pods.Pod) bool) ([]stats.Pod, error) {
	var out []stats.Pod
	for _, p := range f.pods.list {
		if filter(p) {
			out = append(out, stats.Pod{Pod: p})
		}
	}
	return out, f.call("stats.Pods")
}

func (f *fakeStats) Details(context.Context) (*stats.Details, error) {
	d := &stats.Details{Filesystem: stats.Filesystem{Device: "/dev/vda1"}}
	for _, p := range f.pods.list {
		d.Pods = append(d.Pods, stats.PodDetail{Pod: p})
	}
	d.Pods[0].Containers = []stats.ContainerDetail{{Container: f.containers.list[0]}}
	return d, f.call("stats.Details")
}

type fakeNode struct {
	*journal
	runtime, network error
}

func (f *fakeNode) RuntimeReady() error { return f.runtime }
func (f *fakeNode) NetworkReady() error { return f.network }
func (f *fakeNode) SetPodCIDR(_ context.Context, cidrs []netip.Prefix) error {
	return f.call("node.SetPodCIDR %v", cidrs)
}

type fakeStreams struct{ *journal }

func (f *fakeStreams) GetExec(r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return &runtimeapi.ExecResponse{Url: "http://exec"}, f.call("streams.Exec %s %q tty=%v in=%v out=%v err=%v",
		r.ContainerId, r.Cmd, r.Tty, r.Stdin, r.Stdout, r.Stderr)
}
func (f *fakeStreams) GetAttach(r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return &runtimeapi.AttachResponse{Url: "http://attach"}, f.call("streams.Attach %s tty=%v in=%v out=%v err=%v",
		r.ContainerId, r.Tty, r.Stdin, r.Stdout, r.Stderr)
}
func (f *fakeStreams) GetPortForward(r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return &runtimeapi.PortForwardResponse{Url: "http://forward"}, f.call("streams.PortForward %s %v", r.PodSandboxId, r.Port)
}

// lockedBuffer is a log's output that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	l.b.Reset()
	return s
}

package nri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// plugin is a real one, over the socket.
type plugin struct {
	stub   stub.Stub
	synced chan struct{}

	mu       sync.Mutex
	events   []string
	known    []string
	seen     *api.Container
	pod      *api.PodSandbox
	onSync   func() []*api.ContainerUpdate
	onRun    func() error
	onCreate func() (*api.ContainerAdjustment, []*api.ContainerUpdate, error)
}

func (p *plugin) told(event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event)
}

func (p *plugin) list() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.events, ", ")
}

func (p *plugin) Synchronize(_ context.Context, _ []*api.PodSandbox, cs []*api.Container) ([]*api.ContainerUpdate, error) {
	for _, c := range cs {
		p.known = append(p.known, c.GetId())
	}
	var updates []*api.ContainerUpdate
	if p.onSync != nil {
		updates = p.onSync()
	}
	close(p.synced)
	return updates, nil
}

func (p *plugin) RunPodSandbox(_ context.Context, s *api.PodSandbox) error {
	p.told("run")
	p.pod = s
	if p.onRun != nil {
		return p.onRun()
	}
	return nil
}
func (p *plugin) StopPodSandbox(context.Context, *api.PodSandbox) error {
	p.told("stop pod")
	return nil
}
func (p *plugin) RemovePodSandbox(context.Context, *api.PodSandbox) error {
	p.told("remove pod")
	return nil
}
func (p *plugin) UpdatePodSandbox(_ context.Context, _ *api.PodSandbox, overhead, r *api.LinuxResources) error {
	p.told(fmt.Sprintf("update pod %d %d", overhead.GetCpu().GetShares().GetValue(), r.GetCpu().GetShares().GetValue()))
	return nil
}
func (p *plugin) PostUpdatePodSandbox(context.Context, *api.PodSandbox) error {
	p.told("updated pod")
	return nil
}
func (p *plugin) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	p.told("create " + c.GetId())
	p.seen = c
	if p.onCreate == nil {
		return nil, nil, nil
	}
	return p.onCreate()
}
func (p *plugin) StopContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	p.told("stop " + c.GetId())
	return nil, nil
}
func (p *plugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	p.told("remove " + c.GetId())
	return nil
}

// listen starts the service over n with its socket in a short directory.
func listen(t *testing.T, n *node) *NRI {
	t.Helper()
	dir, err := os.MkdirTemp("", "nri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := New(Options{
		Socket: filepath.Join(dir, "nri.sock"), PluginDir: filepath.Join(dir, "plugins"), PluginConfigDir: dir,
		RegistrationTimeout: 5 * time.Second, RequestTimeout: 5 * time.Second, Version: "1", Log: quiet(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(nodePods{n}, nodeContainers{n}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t *testing.T, s *NRI, index string, p *plugin) {
	t.Helper()
	p.synced = make(chan struct{})
	st, err := stub.New(p, stub.WithPluginName("test"), stub.WithPluginIdx(index), stub.WithSocketPath(s.o.Socket))
	if err != nil {
		t.Fatal(err)
	}
	p.stub = st
	if err := st.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Stop)
}

// joined waits until the plugin gets events.
func joined(t *testing.T, s *NRI, p *plugin, count int32) {
	t.Helper()
	<-p.synced
	for deadline := time.Now().Add(20 * time.Second); ; {
		leave := s.Enter(false) // waits for a synchronization that is under way
		n := s.plugins.Load()
		leave()
		if n >= count {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d plugins after 20 s", n)
		}
		time.Sleep(time.Millisecond) // a plugin that was accepted but has not asked for the lock yet: no event tells
	}
}

func TestPluginSeesWhatIsThere(t *testing.T) {
	n := newNode()
	n.add(aContainer("created", lifecycle.ContainerCreated))
	n.add(aContainer("running", lifecycle.ContainerRunning))
	n.add(aContainer("over", lifecycle.ContainerExited))
	n.add(aContainer("going", lifecycle.ContainerRemoving))
	s := listen(t, n)
	if info, err := os.Stat(s.o.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	p := &plugin{}
	connect(t, s, "10", p)
	joined(t, s, p, 1)
	slices.Sort(p.known)
	if !slices.Equal(p.known, []string{"created", "running"}) {
		t.Errorf("the plugin knows %q", p.known)
	}
	c, spec := aContainer("new", lifecycle.ContainerCreating), aSpec()
	if changed, err := s.CreateContainer(t.Context(), c, spec); changed || err != nil {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if v := p.seen; v.GetName() != "name-new" || v.GetImage().GetName() != "busybox" || v.GetImage().GetDigest() != "sha256:2" ||
		v.GetArgs()[0] != "sleep" || v.GetLabels()["tier"] != "front" || v.GetLinux().GetCgroupsPath() != "/slipway/podpod1/new" ||
		v.GetState() != api.ContainerState_CONTAINER_CREATED || v.GetAnnotations()["kept"] != "yes" {
		t.Errorf("the plugin sees %v", v)
	}
	if err := s.RunPod(t.Context(), n.pods[0]); err != nil {
		t.Fatal(err)
	}
	if v := p.pod; v.GetUid() != "u1" || v.GetNamespace() != "shop" || v.GetLinux().GetCgroupsPath() != "/slipway/podpod1" ||
		v.GetLinux().GetNamespaces()[0].GetPath() != "/pins/net" || v.GetLinux().GetPodOverhead().GetCpu().GetShares().GetValue() != 10 {
		t.Errorf("the plugin sees %v", v)
	}
	shares := func(v uint64) *specs.LinuxResources { return &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &v}} }
	if err := s.UpdatePod(t.Context(), n.pods[0], shares(3), shares(4)); err != nil {
		t.Fatal(err)
	}
	s.PostUpdatePod(t.Context(), n.pods[0])
	if got := p.list(); got != "create new, run, update pod 3 4, updated pod" {
		t.Errorf("told of %s", got)
	}
}

func TestRefusalIsTakenBackEverywhere(t *testing.T) {
	n := newNode()
	s := listen(t, n)
	first, second := &plugin{}, &plugin{}
	refusal := errors.New("not today")
	second.onRun = func() error { return refusal }
	second.onCreate = func() (*api.ContainerAdjustment, []*api.ContainerUpdate, error) { return nil, nil, refusal }
	connect(t, s, "10", first)
	joined(t, s, first, 1)
	connect(t, s, "20", second)
	joined(t, s, second, 2)
	err := s.RunPod(t.Context(), n.pods[0])
	if !errors.Is(err, lifecycle.ErrState) || !strings.Contains(err.Error(), "RunPodSandbox: a plugin refused: not today") {
		t.Errorf("%v", err)
	}
	_, err = s.CreateContainer(t.Context(), aContainer("new", lifecycle.ContainerCreating), aSpec())
	if !errors.Is(err, lifecycle.ErrState) || !strings.Contains(err.Error(), "CreateContainer: a plugin refused: not today") {
		t.Errorf("%v", err)
	}
	if got := first.list(); got != "run, stop pod, remove pod, create new, stop new, remove new" {
		t.Errorf("the first plugin was told of %s", got)
	}
}

func TestUpdatesOfOthers(t *testing.T) {
	n := newNode()
	n.add(aContainer("other", lifecycle.ContainerRunning))
	s := listen(t, n)
	update := func(id string, ignore bool) *api.ContainerUpdate {
		u := &api.ContainerUpdate{IgnoreFailure: ignore}
		u.SetContainerId(id)
		u.SetLinuxCPUShares(77)
		return u
	}
	p := &plugin{}
	p.onCreate = func() (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		return nil, []*api.ContainerUpdate{update("nobody", true), update("other", false)}, nil
	}
	connect(t, s, "10", p)
	joined(t, s, p, 1)
	if _, err := s.CreateContainer(t.Context(), aContainer("new", lifecycle.ContainerCreating), aSpec()); err != nil {
		t.Fatal(err)
	}
	if r := n.adjusted["other"]; r == nil || *r.CPU.Shares != 77 {
		t.Errorf("the other container got %v", r)
	}
	p.onCreate = func() (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		return nil, []*api.ContainerUpdate{update("nobody", false)}, nil
	}
	_, err := s.CreateContainer(t.Context(), aContainer("next", lifecycle.ContainerCreating), aSpec())
	if !errors.Is(err, lifecycle.ErrNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("an update of nobody: %v", err)
	}
	if got := p.list(); got != "create new, create next, stop next, remove next" {
		t.Errorf("told of %s", got)
	}
	if failed, err := p.stub.UpdateContainers([]*api.ContainerUpdate{update("other", false)}); err != nil || len(failed) != 0 {
		t.Errorf("out of the blue: %v, %v", failed, err)
	}
	if err := s.evict(t.Context(), []*api.ContainerEviction{{ContainerId: "other", Reason: "room"}}); err != nil || !slices.Equal(n.stopped, []string{"other"}) {
		t.Errorf("stopped %q, %v", n.stopped, err)
	}
}

// A plugin that is being told what there is holds new operations back, and what it then wants does not wait for slots.
func TestLatePlugin(t *testing.T) {
	n := newNode()
	n.add(aContainer("old", lifecycle.ContainerRunning))
	n.slow = make(chan struct{})
	s := listen(t, n)
	entered := make(chan func())
	p := &plugin{onSync: func() []*api.ContainerUpdate {
		go func() { entered <- s.Enter(true) }()
		u := &api.ContainerUpdate{}
		u.SetContainerId("old")
		u.SetLinuxCPUShares(5)
		select {
		case <-entered:
			t.Error("an operation began during the synchronization")
		case <-time.After(20 * time.Millisecond): // long enough to see a gate that is open; a closed one shows nothing
		}
		return []*api.ContainerUpdate{u}
	}}
	connect(t, s, "10", p)
	leave := <-entered // although the update has not got the container yet
	n.add(aContainer("new", lifecycle.ContainerCreating))
	if _, err := s.CreateContainer(t.Context(), aContainer("new", lifecycle.ContainerCreating), aSpec()); err != nil {
		t.Error(err)
	}
	leave()
	close(n.slow)
	if got := p.list(); got != "create new" || !slices.Equal(p.known, []string{"old"}) {
		t.Errorf("told of %s, knows %q", got, p.known)
	}
}

func TestNobodyListens(t *testing.T) {
	s := listen(t, newNode())
	spec, want := aSpec(), aSpec()
	leave := s.Enter(true)
	changed, err := s.CreateContainer(t.Context(), aContainer("new", lifecycle.ContainerCreating), spec)
	leave()
	if changed || err != nil || len(spec.Process.Env) != len(want.Process.Env) {
		t.Errorf("changed %v, %v", changed, err)
	}
	r := &specs.LinuxResources{}
	if own, others, err := s.UpdateContainer(t.Context(), aContainer("new", lifecycle.ContainerRunning), r); own != r || others(t.Context()) != nil || err != nil {
		t.Errorf("%v, %v", own, err)
	}
}

func TestSocketOfAnotherRuntime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nri.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := Options{Socket: path, PluginDir: filepath.Join(dir, "plugins"), PluginConfigDir: dir, RegistrationTimeout: time.Second, RequestTimeout: time.Second, Log: quiet(t)}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n := newNode()
	if err := s.Start(nodePods{n}, nodeContainers{n}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other runtime's socket is gone: %v", err)
	} else {
		_ = conn.Close()
	}
	o.Socket = filepath.Join(dir, strings.Repeat("x", 120))
	if s, err = New(o); err != nil || s.Start(nodePods{n}, nodeContainers{n}) != nil || s.Close() != nil {
		t.Errorf("with a path that is too long: %v", err)
	}
}

func BenchmarkNobodyListens(b *testing.B) {
	s := &NRI{}
	s.gate.block = func() func() { return func() {} }
	c, spec := aContainer("new", lifecycle.ContainerCreating), aSpec()
	for b.Loop() {
		leave := s.Enter(true)
		if _, err := s.CreateContainer(b.Context(), c, spec); err != nil {
			b.Fatal(err)
		}
		leave()
	}
}

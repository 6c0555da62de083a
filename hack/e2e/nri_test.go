package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// nriPlugin is a plugin in this process. It writes down what it is told, and asks for what the functions say.
type nriPlugin struct {
	stub   stub.Stub
	synced chan struct{}

	mu     sync.Mutex
	events []string // "Event name"
	known  []string // containers' names at the synchronization
	adjust func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error)
	update func(*api.Container, *api.LinuxResources) []*api.ContainerUpdate
}

func (n *node) plugin() *nriPlugin {
	n.t.Helper()
	p := &nriPlugin{synced: make(chan struct{})}
	s, err := stub.New(p, stub.WithPluginName("test"), stub.WithPluginIdx("10"), stub.WithSocketPath(n.layout.NRISocket()))
	if err != nil {
		n.t.Fatal(err)
	}
	p.stub = s
	if err := s.Start(n.ctx); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(s.Stop)
	select {
	case <-p.synced:
	case <-n.ctx.Done():
		n.t.Fatal("the plugin was not synchronized")
	}
	return p
}

func (p *nriPlugin) tell(event, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event+" "+name)
	return nil
}

func (p *nriPlugin) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

func (p *nriPlugin) Synchronize(_ context.Context, _ []*api.PodSandbox, cs []*api.Container) ([]*api.ContainerUpdate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		p.known = append(p.known, c.GetName())
	}
	close(p.synced)
	return nil, nil
}

func (p *nriPlugin) RunPodSandbox(_ context.Context, s *api.PodSandbox) error {
	if len(s.GetIps()) == 0 {
		return fmt.Errorf("pod %s has no address", s.GetName())
	}
	return p.tell("run", s.GetName())
}

func (p *nriPlugin) StopPodSandbox(_ context.Context, s *api.PodSandbox) error {
	return p.tell("stop pod", s.GetName())
}

func (p *nriPlugin) RemovePodSandbox(_ context.Context, s *api.PodSandbox) error {
	return p.tell("remove pod", s.GetName())
}

func (p *nriPlugin) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	_ = p.tell("create", c.GetName())
	if p.adjust == nil {
		return nil, nil, nil
	}
	return p.adjust(c)
}

func (p *nriPlugin) PostCreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	return p.tell("created", c.GetName())
}

func (p *nriPlugin) StartContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	return p.tell("start", c.GetName())
}

func (p *nriPlugin) PostStartContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	return p.tell("started", c.GetName())
}

func (p *nriPlugin) UpdateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	_ = p.tell("update", c.GetName())
	if p.update == nil {
		return nil, nil
	}
	return p.update(c, r), nil
}

func (p *nriPlugin) PostUpdateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	return p.tell("updated", c.GetName())
}

func (p *nriPlugin) StopContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	return nil, p.tell("stop", c.GetName())
}

func (p *nriPlugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	return p.tell("remove", c.GetName())
}

func TestNRIOrder(t *testing.T) {
	n := startNode(t)
	n.pull()
	plugin := n.plugin()
	p := n.runPod("order", nil)
	c := p.run("main", []string{"sleep", "1000"}, nil)
	request := &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 512}}
	if _, err := n.runtime.UpdateContainerResources(n.ctx, request); err != nil {
		t.Fatal(err)
	}
	c.stop(0)
	c.stop(0)
	c.remove()
	p.run("short", []string{"true"}, nil).exit()
	eventually(t, "the stop of a container that ended by itself", func() bool { return slices.Contains(plugin.told(), "stop short") })
	p.create("never started", []string{"true"}, nil)
	p.remove()
	got := plugin.told()
	want := []string{
		"run order", "create main", "created main", "start main", "started main", "update main", "updated main", "stop main", "remove main",
		"create short", "created short", "start short", "started short", "stop short",
		"create never started", "created never started", "stop never started", "stop pod order",
	}
	// A short program may have ended before its start is told of, and the pod's containers go side by side.
	slices.Sort(got[10:14])
	slices.Sort(want[10:14])
	if rest := got[min(len(want), len(got)):]; !slices.Equal(got[:len(got)-len(rest)], want) || len(rest) != 3 || rest[2] != "remove pod order" {
		t.Errorf("told of %q\nwant %q, two removals, and the pod's", got, want)
	}
}

func TestNRIAdjustments(t *testing.T) {
	n := startNode(t)
	n.pull()
	plugin := n.plugin()
	p := n.runPod("adjust", nil)
	neighbour := p.run("neighbour", []string{"sleep", "1000"}, nil)
	shared := n.write("shared/file", "from the node")
	var request string
	plugin.adjust = func(c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		a := &api.ContainerAdjustment{}
		a.AddEnv("FROM_PLUGIN", "yes")
		a.RemoveEnv("GONE")
		a.AddAnnotation("plugin", "was here")
		a.AddMount(&api.Mount{Source: filepath.Dir(shared), Destination: "/mnt/shared", Type: "bind", Options: []string{"bind", "ro"}})
		a.AddRlimit("RLIMIT_NOFILE", 512, 256)
		a.SetLinuxMemoryLimit(48 << 20)
		a.SetLinuxCPUShares(768)
		oom := 700
		a.SetLinuxOomScoreAdj(&oom)
		a.AddDevice(&api.LinuxDevice{Path: "/dev/zero-too", Type: "c", Major: 1, Minor: 5})
		a.SetLinuxCgroupsPath(c.GetLinux().GetCgroupsPath() + "-elsewhere")
		u := &api.ContainerUpdate{}
		u.SetContainerId(neighbour.id)
		u.SetLinuxCPUShares(333)
		request = c.GetLinux().GetCgroupsPath()
		return a, []*api.ContainerUpdate{u}, nil
	}
	script := `echo $FROM_PLUGIN ${GONE-unset}; cat /mnt/shared/file; echo; ulimit -n; cat /proc/self/oom_score_adj; head -c 1 /dev/zero-too | wc -c; touch /mnt/shared/x 2>/dev/null || echo read-only; sleep 1000`
	c := p.run("main", []string{"sh", "-c", script}, func(c *containerConfig) {
		c.Envs = append(c.Envs, &runtimeapi.KeyValue{Key: "GONE", Value: []byte("here")})
	})
	eventually(t, "the program's output", func() bool { return strings.Contains(c.output(), "read-only\n") })
	if got := c.output(); !strings.HasPrefix(got, "yes unset\nfrom the node\n256\n700\n1\n") {
		t.Errorf("inside: %q", got)
	}
	if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(48<<20) {
		t.Errorf("memory limit %s", got)
	}
	if dir, _ := c.cgroup("memory"); request == "" || !strings.HasSuffix(dir, request+"-elsewhere") {
		t.Errorf("the container is in cgroup %s, was to be in %s", dir, request)
	}
	r := c.status().GetResources().GetLinux()
	if r.GetMemoryLimitInBytes() != 48<<20 || r.GetCpuShares() != 768 {
		t.Errorf("status reports %v", r)
	}
	if r := neighbour.status().GetResources().GetLinux(); r.GetCpuShares() != 333 {
		t.Errorf("the neighbour's status reports %v", r)
	}
	again, err := n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("idempotent", []string{"true"}, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if more, err := n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("idempotent", []string{"true"}, nil)}); err != nil || more.GetContainerId() != again.GetContainerId() {
		t.Errorf("a repeated request whose container was adjusted: %v, %v", more, err)
	}
}

func TestNRIRefusals(t *testing.T) {
	n := startNode(t)
	n.pull()
	plugin := n.plugin()
	p := n.runPod("refuse", nil)
	request := &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: p.config("main", []string{"true"}, nil)}
	plugin.adjust = func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		return nil, nil, fmt.Errorf("not today")
	}
	_, err := n.runtime.CreateContainer(n.ctx, request)
	wantCode(t, err, codes.FailedPrecondition, "NRI CreateContainer", "not today")
	plugin.adjust = func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		a := &api.ContainerAdjustment{}
		a.AddHooks(&api.Hooks{Prestart: []*api.Hook{{Path: "/bin/true"}}})
		return a, nil, nil
	}
	_, err = n.runtime.CreateContainer(n.ctx, request)
	wantCode(t, err, codes.Unimplemented, "NRI CreateContainer", "OCI hooks")
	plugin.adjust = func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		a := &api.ContainerAdjustment{}
		a.AddMount(&api.Mount{Source: filepath.Join(n.dir, "nothing"), Destination: "/mnt/x", Type: "bind", Options: []string{"bind"}})
		return a, nil, nil
	}
	if _, err = n.runtime.CreateContainer(n.ctx, request); err == nil {
		t.Error("a mount of nothing succeeded")
	}
	plugin.adjust = nil
	if _, err = n.runtime.CreateContainer(n.ctx, request); err != nil {
		t.Errorf("once the plugin agrees: %v", err)
	}
	created, removed := 0, 0
	for _, e := range plugin.told() {
		switch e {
		case "create main":
			created++
		case "remove main":
			removed++
		}
	}
	if created != 4 || removed != 3 {
		t.Errorf("told of %d creations and %d removals: %q", created, removed, plugin.told())
	}
}

func TestNRIUpdates(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("update", nil)
	c := p.run("main", []string{"sleep", "1000"}, nil)
	p.run("over", []string{"true"}, nil).exit()
	plugin := n.plugin()
	if !slices.Equal(plugin.known, []string{"main"}) {
		t.Errorf("the late plugin knows %q", plugin.known)
	}
	plugin.update = func(v *api.Container, r *api.LinuxResources) []*api.ContainerUpdate {
		u := &api.ContainerUpdate{}
		u.SetContainerId(v.GetId())
		u.SetLinuxCPUShares(2 * r.GetCpu().GetShares().GetValue())
		return []*api.ContainerUpdate{u}
	}
	request := &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 500, CpuQuota: 20000, CpuPeriod: 100000}}
	if _, err := n.runtime.UpdateContainerResources(n.ctx, request); err != nil {
		t.Fatal(err)
	}
	if r := c.status().GetResources().GetLinux(); r.GetCpuShares() != 1000 || c.quota() != "20000" {
		t.Errorf("status reports %v, the quota is %s", r, c.quota())
	}
	u, unknown := &api.ContainerUpdate{}, &api.ContainerUpdate{}
	u.SetContainerId(c.id)
	u.SetLinuxCPUQuota(30000)
	unknown.SetContainerId(strings.Repeat("0", 64))
	unknown.SetLinuxCPUQuota(30000)
	if failed, err := plugin.stub.UpdateContainers([]*api.ContainerUpdate{u}); err != nil || len(failed) != 0 {
		t.Errorf("an update out of the blue: %v, %v", failed, err)
	}
	if r := c.status().GetResources().GetLinux(); r.GetCpuQuota() != 30000 || c.quota() != "30000" {
		t.Errorf("status reports %v, the quota is %s", r, c.quota())
	}
	if _, err := plugin.stub.UpdateContainers([]*api.ContainerUpdate{unknown}); err == nil {
		t.Error("an update of an unknown container succeeded")
	}
	n.kill()
	n.start()
	if again := n.plugin(); !slices.Equal(again.known, []string{"main"}) {
		t.Errorf("after the agent's restart a plugin knows %q", again.known)
	}
}

func TestNRIPreinstalled(t *testing.T) {
	n := newNode(t)
	log := filepath.Join(n.dir, "environment")
	plugin := n.write("plugins/07-shell", "#!/bin/sh\nenv > "+log+".new; mv "+log+".new "+log+"\nexec sleep 1000\n")
	if err := os.Chmod(plugin, 0o755); err != nil {
		t.Fatal(err)
	}
	n.write("config.toml", "[stop]\ndrain_grace = '1s'\n[nri]\nregistration_timeout = '500ms'\nplugin_dir = '"+filepath.Dir(plugin)+"'\n")
	n.start() // which a plugin that never registers does not keep from it
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NRI_PLUGIN_NAME=shell\n", "NRI_PLUGIN_IDX=07\n", "NRI_PLUGIN_SOCKET=3\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is not in the plugin's environment:\n%s", want, data)
		}
	}
	if !strings.Contains(n.agent.log(), `pre-installed NRI plugin \"shell\"`) {
		t.Error("the log does not name the plugin that did not register")
	}
}

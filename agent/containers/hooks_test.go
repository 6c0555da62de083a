package containers

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// recorder is hooks that write down what they are told, and fail or change what the test says.
type recorder struct {
	mu     sync.Mutex
	events []string
	fail   string // the event that fails
	change func(*specs.Spec)
	own    *specs.LinuxResources
	others chan string // what is left to do after an event, when it is done

	inside int // of the gate
}

func (r *recorder) told(event string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside == 0 {
		event += " outside of the gate"
	}
	r.events = append(r.events, event)
	if event == r.fail {
		return errBoom
	}
	return nil
}

func (r *recorder) list() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.events, ", ")
	r.events = nil
	return s
}

func (r *recorder) Enter(bool) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.inside--
	}
}

func (r *recorder) CreateContainer(_ context.Context, _ *Container, s *specs.Spec) (bool, error) {
	if err := r.told("create"); err != nil {
		return false, err
	}
	if r.change == nil {
		return false, nil
	}
	r.change(s)
	return true, nil
}
func (r *recorder) PostCreateContainer(context.Context, *Container)  { _ = r.told("created") }
func (r *recorder) StartContainer(context.Context, *Container) error { return r.told("start") }
func (r *recorder) PostStartContainer(context.Context, *Container)   { _ = r.told("started") }
func (r *recorder) PostUpdateContainer(context.Context, *Container)  { _ = r.told("updated") }
func (r *recorder) RemoveContainer(_ context.Context, v *Container)  { _ = r.told("remove") }
func (r *recorder) UpdateContainer(_ context.Context, _ *Container, req *specs.LinuxResources) (*specs.LinuxResources, func(context.Context) error, error) {
	if err := r.told("update"); err != nil {
		return nil, nil, err
	}
	if r.own != nil {
		req = r.own
	}
	return req, func(context.Context) error { return r.told("others outside of the gate") }, nil
}

func (r *recorder) StopContainer(_ context.Context, v *Container) func(context.Context) {
	if v.State != lifecycle.ContainerExited {
		_ = r.told("stop of a container that is " + string(v.State))
	}
	_ = r.told("stop")
	if r.others == nil {
		return nil
	}
	return func(context.Context) { r.others <- v.ID }
}

func hooked(t *testing.T) (*fixture, *recorder) {
	t.Helper()
	f, r := newFixture(t), &recorder{}
	f.o.Hooks = r
	return f, r
}

func TestHooksOfALife(t *testing.T) {
	f, r := hooked(t)
	id := f.running(t, "c")
	if err := f.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := r.list(); got != "create, created, start, started" {
		t.Errorf("a start, twice: %s", got)
	}
	for range 2 {
		if err := f.Stop(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.StopPod(t.Context(), "pod-1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.list(); got != "stop" { // before Stop returned
		t.Errorf("stops: %s", got)
	}
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := r.list(); got != "remove" {
		t.Errorf("a removal: %s", got)
	}
	f.balanced(t, "removed")
}

func TestHooksOfAnEndByItself(t *testing.T) {
	f, r := hooked(t)
	r.others = make(chan string)
	id := f.running(t, "c")
	f.k.end(id, runtime.Exit{Code: 1})
	if got := <-r.others; got != id {
		t.Errorf("what is to be done after the end of %s was done for %s", id, got)
	}
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := r.list(); got != "create, created, start, started, stop, remove" {
		t.Errorf("told of %s", got)
	}
	f.k.told.Wait()
	f.balanced(t, "removed")
}

// Hooks that fail leave nothing and may be tried again; those that cannot fail are told whatever step fails.
func TestHooksThatFail(t *testing.T) {
	f, r := hooked(t)
	r.fail = "create"
	if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); !errors.Is(err, errBoom) {
		t.Errorf("create: %v", err)
	}
	f.balanced(t, "a failed hook")
	if got := r.list(); got != "create" {
		t.Errorf("told of %s", got)
	}
	r.fail = "start"
	id := f.create(t, "c")
	if err := f.Start(t.Context(), id); !errors.Is(err, errBoom) {
		t.Errorf("start: %v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerCreated {
		t.Errorf("after a start that hooks refused it is %s", v.State)
	}
	r.fail = ""
	if err := f.Start(t.Context(), id); err != nil {
		t.Errorf("a second start: %v", err)
	}
	r.fail = "update"
	if err := f.Update(t.Context(), id, &runtimeapi.LinuxContainerResources{CpuShares: 9}, nil); !errors.Is(err, errBoom) {
		t.Errorf("update: %v", err)
	}
	if got := f.get(t, id).Config.GetLinux().GetResources().GetCpuShares(); got != 0 {
		t.Errorf("an update that was refused is reported: %d", got)
	}
}

func TestHooksOfACreationThatFails(t *testing.T) {
	f, r := hooked(t)
	f.k.fail = 5 // the process
	if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); !errors.Is(err, errBoom) {
		t.Errorf("%v", err)
	}
	if got := r.list(); got != "create, stop of a container that is creating, stop, remove" {
		t.Errorf("told of %s", got)
	}
	f.balanced(t, "a failed creation")
}

func TestHooksChangeWhatIsMade(t *testing.T) {
	f, r := hooked(t)
	shares := uint64(700)
	r.change = func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/else/where"
		s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares}
		s.Process.Env = append(s.Process.Env, "FROM=hook")
	}
	id := f.create(t, "c")
	v := f.get(t, id)
	if v.CgroupPath != "/else/where" || v.Config.GetLinux().GetResources().GetCpuShares() != 700 {
		t.Errorf("%s, %v", v.CgroupPath, v.Config.GetLinux().GetResources())
	}
	if s, err := f.Spec(id); err != nil || s.Process.Env[len(s.Process.Env)-1] != "FROM=hook" {
		t.Errorf("the spec on disk: %v, %v", s.Process.Env, err)
	}
	if again, err := f.Create(t.Context(), "pod-1", config("c"), nil); err != nil || again != id {
		t.Errorf("a retry of the request: %s, %v", again, err)
	}
	other := config("c")
	other.Command = []string{"/bin/false"}
	if _, err := f.Create(t.Context(), "pod-1", other, nil); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("another request: %v", err)
	}
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Create(t.Context(), "pod-1", config("c"), nil); err != nil || again != id {
		t.Errorf("a retry after a restart: %s, %v", again, err)
	}
	if _, err := os.Stat(f.l.ContainerDir(id)); err != nil {
		t.Error(err)
	}
}

func TestHooksChangeAnUpdate(t *testing.T) {
	f, r := hooked(t)
	id := f.running(t, "c")
	r.list()
	quota := int64(5000)
	r.own = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}}
	if err := f.Update(t.Context(), id, &runtimeapi.LinuxContainerResources{CpuShares: 9, CpuQuota: 4000}, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.get(t, id).Config.GetLinux().GetResources(); got.GetCpuQuota() != 5000 {
		t.Errorf("status reports %v", got)
	}
	if got := r.list(); got != "update, updated, others outside of the gate outside of the gate" {
		t.Errorf("told of %s", got)
	}
	if err := f.Adjust(t.Context(), id, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "1"}}); err != nil {
		t.Fatal(err)
	}
	if got := f.get(t, id).Config.GetLinux().GetResources(); got.GetCpusetCpus() != "1" || got.GetCpuQuota() != 5000 {
		t.Errorf("status reports %v", got)
	}
	if got := r.list(); got != "" {
		t.Errorf("an adjustment that hooks asked for was told: %s", got)
	}
}

package containers

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
)

var errBoom = errors.New("boom")

// kernel is every service that containers stand on, pods excepted. It writes down one operation a
// line, fails the nth or dies after it, and keeps count of what exists. Exits are told
// from another goroutine, as the runtime does.
type kernel struct {
	images.Service // what containers must not call is nil

	mu    sync.Mutex
	moved *sync.Cond
	log   []string
	n     int
	fail  int           // the operation that fails, 1-based; 0 = never
	die   int           // the operation that is done and never returns, as if the agent were killed there
	died  chan struct{} // closed then
	has   map[string]bool
	alive map[string]bool
	execs map[string]*process

	changed *specs.LinuxResources // by the last change
	score   *runtime.OOMScore

	exited   func(runtime.Exit)
	start    func(id string) error // what Start does beside succeeding
	onSignal func(id string, sig syscall.Signal)
	program  func(*process) int // what an exec runs
	told     sync.WaitGroup
	immortal bool // kills do not end anything
	labels   map[string]string
}

func newKernel() *kernel {
	k := &kernel{has: map[string]bool{}, alive: map[string]bool{}, execs: map[string]*process{}, died: make(chan struct{})}
	k.moved = sync.NewCond(&k.mu)
	return k
}

// do writes an operation down; then, unless it fails, it has its effect.
func (k *kernel) do(op string, effect func()) error {
	k.mu.Lock()
	k.log = append(k.log, op)
	k.n++
	n := k.n
	if n != k.fail && effect != nil {
		effect()
	}
	failed, dead := n == k.fail, n == k.die
	k.moved.Broadcast()
	k.mu.Unlock()
	if dead {
		close(k.died)
		select {}
	}
	if failed {
		return errBoom
	}
	return nil
}

// await waits until cond, under the lock, holds.
func (k *kernel) await(cond func() bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !cond() {
		k.moved.Wait()
	}
}

func (k *kernel) holds(thing string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.has[thing]
}

func (k *kernel) ops() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.log, ", ")
}

func (k *kernel) Get(ref string) (*images.Image, error) {
	if ref == "missing" {
		return nil, lifecycle.ErrNotFound
	}
	image := &images.Image{ID: "sha256:1234", RepoDigests: []string{"r/busybox@sha256:5678"}}
	image.Config.Config = imagespec.ImageConfig{
		Cmd: []string{"/bin/true"}, Volumes: map[string]struct{}{"/data": {}}, Labels: k.labels,
	}
	return image, k.do("get image", nil)
}

func (k *kernel) Use(_, user string) (*images.Rootfs, error) {
	return &images.Rootfs{Base: filepath.Dir(os.Args[0]), Lower: []string{"."}}, k.do("use image", func() { k.has["use "+user] = true })
}

func (k *kernel) Release(user string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.has, "use "+user)
}

func (k *kernel) ReadFile(string, string, int64) ([]byte, error) {
	if err := k.do("read users", nil); err != nil {
		return nil, err
	}
	return nil, fs.ErrNotExist
}

func (k *kernel) Create(_ context.Context, s runtime.ContainerSpec) (int, error) {
	return 42, k.do("create", func() { k.has["process "+s.ID], k.alive[s.ID] = true, true })
}

func (k *kernel) Start(ctx context.Context, id string) (time.Time, error) {
	if err := k.do("start", nil); err != nil {
		return time.Time{}, err
	}
	if k.start != nil {
		if err := k.start(id); err != nil {
			return time.Time{}, err
		}
	}
	return time.Unix(100, 0), ctx.Err()
}

// end makes a process exit; the exit is told later.
func (k *kernel) end(id string, x runtime.Exit) {
	k.mu.Lock()
	was, tell := k.alive[id], k.exited
	delete(k.alive, id)
	k.mu.Unlock()
	if x.ID = id; x.FinishedAt.IsZero() {
		x.FinishedAt = time.Unix(200, 0)
	}
	if was && tell != nil {
		k.told.Go(func() { tell(x) })
	}
}

func (k *kernel) Signal(_ context.Context, id string, sig syscall.Signal) error {
	err := k.do("signal "+sig.String(), nil)
	if err == nil && k.onSignal != nil {
		k.onSignal(id, sig)
	}
	return err
}

func (k *kernel) KillAll(_ context.Context, id, _ string) error {
	err := k.do("kill", nil)
	if err == nil && !k.immortal {
		k.end(id, runtime.Exit{Code: 137, Signal: 9})
	}
	return err
}

func (k *kernel) Delete(_ context.Context, id, _ string) error {
	err := k.do("delete", func() { delete(k.has, "process "+id) })
	if err == nil {
		k.end(id, runtime.Exit{Code: 137, Signal: 9})
	}
	return err
}

func (k *kernel) Change(_ context.Context, _ string, r *specs.LinuxResources, score *runtime.OOMScore) (func() error, error) {
	k.changed, k.score = r, score
	return func() error { return k.do("undo change", nil) }, k.do("change", nil)
}

func (k *kernel) ReopenLog(context.Context, string) error { return k.do("reopen log", nil) }

func (k *kernel) Attach(context.Context, string, bool) (*runtime.Attachment, error) {
	return nil, k.do("attach", nil)
}

func (k *kernel) Resize(context.Context, string, uint16, uint16) error { return k.do("resize", nil) }

// onePod is a ready pod.
type onePod struct {
	v    pods.Pod
	slot sync.Mutex
}

func (p *onePod) Get(id string) (*pods.Pod, error) {
	if id != p.v.ID {
		return nil, lifecycle.ErrNotFound
	}
	return &p.v, nil
}

func (p *onePod) Hold(_ context.Context, id string) (*pods.Pod, func(), error) {
	v, err := p.Get(id)
	if err != nil {
		return nil, nil, err
	}
	p.slot.Lock()
	return v, p.slot.Unlock, nil
}

func (p *onePod) Files(*pods.Pod) pods.Files { return pods.Files{Shm: "/p/shm"} }

type fixture struct {
	*Containers
	k   *kernel
	pod *onePod
	l   layout.Layout
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{k: newKernel(), l: layout.New(filepath.Join(dir, "root"), filepath.Join(dir, "state"))}
	f.restart("boot-1")
	t.Cleanup(f.k.told.Wait)
	return f
}

// restart makes a new service over the same disk and kernel, as a new agent does.
func (f *fixture) restart(bootID string) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	f.pod = &onePod{v: pods.Pod{
		ID: "pod-1", State: lifecycle.PodReady, CgroupPath: "/pod-1",
		NetNS: "/p/net", IPCNS: "/p/ipc", UTSNS: "/p/uts",
		Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "web"}},
	}}
	f.Containers = New(Options{
		Layout: f.l, Runtime: f.k, Images: f.k, Pods: f.pod, BootID: bootID, Log: logrus.NewEntry(log),
		Host: ocispec.Host{Seccomp: func(*specs.Spec, runtimeapi.SecurityProfile_ProfileType, string) (*specs.LinuxSeccomp, error) {
			return nil, nil
		}},
	})
	f.k.mu.Lock()
	f.k.exited, f.k.die = f.Containers.Exited, 0
	f.k.mu.Unlock()
}

// left is everything that containers have in the kernel and on disk.
func (f *fixture) left() []string {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	var out []string
	for thing := range f.k.has {
		out = append(out, thing)
	}
	for id := range f.k.alive {
		out = append(out, "alive "+id)
	}
	entries, _ := os.ReadDir(f.l.ContainerRecords())
	for _, e := range entries {
		out = append(out, filepath.Join("records", e.Name()))
	}
	slices.Sort(out)
	return out
}

// balanced fails the test where something is left of containers that are gone, in memory too.
func (f *fixture) balanced(t *testing.T, after string) {
	t.Helper()
	if left := f.left(); len(left) != 0 {
		t.Errorf("%s: left %v", after, left)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ends) != 0 || f.inv.Len() != 0 {
		t.Errorf("%s: %d ends and %d entries left in memory", after, len(f.ends), f.inv.Len())
	}
}

func config(name string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: "busybox"},
		Command:  []string{"/bin/sleep", "9"},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func (f *fixture) create(t *testing.T, name string) string {
	t.Helper()
	id, err := f.Create(t.Context(), "pod-1", config(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) running(t *testing.T, name string) string {
	t.Helper()
	id := f.create(t, name)
	if err := f.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) get(t *testing.T, id string) *Container {
	t.Helper()
	v, err := f.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// exit is an exit that is told at once, by the caller.
func (f *fixture) exit(x runtime.Exit) {
	f.k.mu.Lock()
	delete(f.k.alive, x.ID)
	f.k.mu.Unlock()
	f.Exited(x)
}

// awaitExit waits until the exit is applied and what it leaves is reclaimed.
func (f *fixture) awaitExit(t *testing.T, id string) *Container {
	t.Helper()
	if ok, err := f.waitExit(t.Context(), id, 10*time.Second); !ok || err != nil {
		t.Fatalf("no exit: %v", err)
	}
	f.k.await(func() bool { return !f.k.has["process "+id] })
	return f.get(t, id)
}

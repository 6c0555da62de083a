package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/runtime"
)

var errBoom = errors.New("boom")

// kernel is every service that pods stand on: it writes down one operation a line, fails the
// nth, and keeps count of what exists.
type kernel struct {
	mu   sync.Mutex
	log  []string
	fail int // 1-based; 0 = never
	n    int
	has  map[string]bool
}

func (k *kernel) do(op, thing string, make bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, op)
	k.n++
	if k.n == k.fail {
		return errBoom
	}
	if make {
		k.has[thing] = true
	} else {
		delete(k.has, thing)
	}
	return nil
}

func (k *kernel) CreateSandbox(_ context.Context, s runtime.SandboxSpec) (*runtime.Sandbox, error) {
	if err := k.do("create sandbox", "sandbox", true); err != nil {
		return nil, err
	}
	return &runtime.Sandbox{Pid: 42, NetNS: filepath.Join(s.PinDir, "net")}, nil
}

func (k *kernel) ReleaseSandbox(context.Context, string) error {
	return k.do("release sandbox", "released", true)
}

func (k *kernel) RemoveSandbox(context.Context, runtime.SandboxSpec) error {
	defer delete(k.has, "released")
	return k.do("remove sandbox", "sandbox", false)
}
func (k *kernel) Change(_ context.Context, cgroup string, r *specs.LinuxResources, _ *runtime.OOMScore) (func() error, error) {
	op := fmt.Sprintf("change %s", filepath.Base(cgroup)[:3])
	if r.Memory != nil {
		op += fmt.Sprintf(" memory=%d", *r.Memory.Limit)
	}
	return func() error { return k.do("undo change", "", false) }, k.do(op, "", false)
}
func (k *kernel) Mount(string, int64) error { return k.do("mount shm", "shm", true) }
func (k *kernel) Unmount(string) error      { return k.do("unmount shm", "shm", false) }
func (k *kernel) Name() string              { return "fake" }
func (k *kernel) Setup(context.Context, network.Pod) (*network.Result, error) {
	if err := k.do("set up network", "network", true); err != nil {
		return nil, err
	}
	return &network.Result{IPs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}, Iface: "eth0"}, nil
}

func (k *kernel) Teardown(_ context.Context, p network.Pod) error {
	return k.do("tear down network", "network", false)
}
func (k *kernel) Check(context.Context, network.Pod) error     { return nil }
func (k *kernel) Ready() error                                 { return nil }
func (k *kernel) Recover(context.Context, []network.Pod) error { return nil }
func (k *kernel) Close(bool) error                             { return nil }
func (k *kernel) StopPod(context.Context, string) error {
	return k.do("stop containers", "containers", false)
}

func (k *kernel) RemovePod(context.Context, string) error {
	return k.do("remove containers", "containers", false)
}

type fixture struct {
	*Pods
	k *kernel
	l layout.Layout
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{k: &kernel{has: map[string]bool{}}, l: layout.New(filepath.Join(dir, "root"), filepath.Join(dir, "state"))}
	f.restart("boot-1")
	return f
}

// restart makes a new service over the same disk and kernel, as a new agent does.
func (f *fixture) restart(bootID string) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	f.Pods = New(Options{Layout: f.l, Runtime: f.k, Network: f.k, Shm: f.k, BootID: bootID, Log: logrus.NewEntry(log)})
	f.SetContainers(f.k)
}

func (f *fixture) left(t *testing.T) []string {
	t.Helper()
	var out []string
	for thing := range f.k.has {
		out = append(out, thing)
	}
	for _, dir := range []string{f.l.PodRecords(), filepath.Dir(f.l.PodState("x"))} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

func config(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "u-" + name},
		Hostname: name,
		Linux:    &runtimeapi.LinuxPodSandboxConfig{},
	}
}

func TestRunStopRemove(t *testing.T) {
	f := newFixture(t)
	id, err := f.Run(t.Context(), config("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	want := "mount shm, create sandbox, set up network, release sandbox"
	if got := strings.Join(f.k.log, ", "); got != want {
		t.Errorf("operations: %s\nwant: %s", got, want)
	}
	v, err := f.Get(id[:10])
	if err != nil || v.State != lifecycle.PodReady || v.Addrs()[0].String() != "10.1.2.3" || len(v.Timeline) != 5 {
		t.Errorf("snapshot %+v %v", v, err)
	}
	hosts, _ := os.ReadFile(f.Files(v).Hosts)
	if !strings.Contains(string(hosts), "10.1.2.3\tweb") {
		t.Errorf("hosts: %s", hosts)
	}
	if again, err := f.Run(t.Context(), config("web"), ""); err != nil || again != id {
		t.Errorf("a retry: %s %v", again, err)
	}
	other := config("web")
	other.Hostname = "else"
	if _, err := f.Run(t.Context(), other, ""); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("another of this name: %v", err)
	}
	for range 2 {
		if err := f.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if v, _ := f.Get(id); v.State != lifecycle.PodNotReady || len(f.k.has) != 0 {
		t.Errorf("stopped: %s, left %v", v.State, f.k.has)
	}
	for range 2 {
		if err := f.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if left := f.left(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := f.Stop(t.Context(), "nobody"); err != nil {
		t.Errorf("unknown id: %v", err)
	}
}

// TestRunFailsAtEachOperation breaks the nth operation of a start: the error says so, nothing is
// left, and a retry works.
func TestRunFailsAtEachOperation(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t)
		f.k.fail = n
		_, err := f.Run(t.Context(), config("web"), "")
		if err == nil {
			if n < 4 {
				t.Fatalf("a start of %d operations?", n-1)
			}
			return
		}
		if !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "default/web") {
			t.Errorf("operation %d: %v", n, err)
		}
		if left := f.left(t); len(left) != 0 {
			t.Errorf("operation %d (%s) failed and left %v", n, f.k.log[n-1], left)
		}
		if _, err := f.Run(t.Context(), config("web"), ""); err != nil {
			t.Errorf("retry after operation %d: %v", n, err)
		}
	}
}

// TestRunFailsAtEachRecord lets the nth write of the record fail, as a full disk does.
func TestRunFailsAtEachRecord(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t)
		save, left := f.save, n
		f.save = func(id string, v *Pod) error {
			if left--; left == 0 {
				return errors.Join(save(id, v), syscall.ENOSPC) // its directory may well be there by then
			}
			return save(id, v)
		}
		_, err := f.Run(t.Context(), config("web"), "")
		if err == nil {
			if n < 4 {
				t.Fatalf("a start of %d records?", n-1)
			}
			return
		}
		if left := f.left(t); !errors.Is(err, syscall.ENOSPC) || len(left) != 0 {
			t.Errorf("record %d failed (%v) and left %v", n, err, left)
		}
		if _, err := f.Run(t.Context(), config("web"), ""); err != nil {
			t.Errorf("retry after record %d: %v", n, err)
		}
	}
}

// TestRemoveOnAFullDisk: a removal is what makes room.
func TestRemoveOnAFullDisk(t *testing.T) {
	f := newFixture(t)
	id, err := f.Run(t.Context(), config("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	f.save = func(string, *Pod) error { return syscall.ENOSPC }
	if err := f.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	if left := f.left(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestStoppedPodsAreLeftAlone: a start takes nothing down that a stop has given back, and a reboot's pods once.
func TestStoppedPodsAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	id, err := f.Run(t.Context(), config("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	start := func(boot string) (operations int) {
		f.restart(boot)
		if err := f.Load(); err != nil {
			t.Fatal(err)
		}
		before := f.k.n
		f.Finish(t.Context())
		return f.k.n - before
	}
	if first, second := start("boot-2"), start("boot-2"); first == 0 || second != 0 {
		t.Errorf("after a reboot: %d operations, at the next start %d", first, second)
	}
	if err := f.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if n := start("boot-2"); n != 0 {
		t.Errorf("%d operations on a stopped pod", n)
	}
}

// TestStopFailsAtEachOperation: a stop that fails half-way is finished by the next one.
func TestStopFailsAtEachOperation(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t)
		id, err := f.Run(t.Context(), config("web"), "")
		if err != nil {
			t.Fatal(err)
		}
		f.k.fail = f.k.n + n
		if err = f.Stop(t.Context(), id); err == nil {
			if n < 5 {
				t.Fatalf("a stop of %d operations?", n-1)
			}
			return
		}
		if v, _ := f.Get(id); v.State != lifecycle.PodStopping {
			t.Errorf("operation %d: state %s", n, v.State)
		}
		if err := f.Remove(t.Context(), id); err != nil {
			t.Errorf("operation %d: removal: %v", n, err)
		}
		if left := f.left(t); len(left) != 0 {
			t.Errorf("operation %d failed, then removed, and left %v", n, left)
		}
	}
}

// TestRecovery cuts a start off after each operation, as kill -9 does, and lets the next agent
// clean up; a pod that was ready stays.
func TestRecovery(t *testing.T) {
	for n := 1; n <= 4; n++ {
		f := newFixture(t)
		killed := make(chan struct{})
		f.Pods.o.Network, f.Pods.o.Runtime, f.Pods.o.Shm = dying{f.k, n, killed}, dying{f.k, n, killed}, dying{f.k, n, killed}
		go func() { _, _ = f.Run(context.Background(), config("web"), "") }()
		<-killed
		f.restart("boot-1")
		if err := f.Load(); err != nil {
			t.Fatal(err)
		}
		f.Finish(t.Context())
		if left := f.left(t); len(left) != 0 {
			t.Errorf("killed at operation %d (%s), recovery left %v", n, f.k.log[n-1], left)
		}
	}
	f := newFixture(t)
	id, err := f.Run(t.Context(), config("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	before := f.left(t)
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	f.Finish(t.Context())
	if v, err := f.Get(id); err != nil || v.State != lifecycle.PodReady || !slices.Equal(before, f.left(t)) {
		t.Errorf("after a restart: %+v %v", v, err)
	}
	if got := f.NetworkPods(); len(got) != 1 || got[0].Previous == nil {
		t.Errorf("network's pods: %+v", got)
	}
	f.restart("boot-2")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	f.Finish(t.Context())
	if v, err := f.Get(id); err != nil || v.State != lifecycle.PodNotReady || len(f.k.has) != 0 {
		t.Errorf("after a reboot: %+v %v, left %v", v, err, f.k.has)
	}
}

// dying is the kernel whose nth operation is done and never returns: the agent died there.
type dying struct {
	*kernel
	at     int
	killed chan struct{}
}

func (d dying) die() {
	if d.n == d.at {
		close(d.killed)
		select {}
	}
}

func (d dying) CreateSandbox(ctx context.Context, s runtime.SandboxSpec) (*runtime.Sandbox, error) {
	sb, err := d.kernel.CreateSandbox(ctx, s)
	d.die()
	return sb, err
}

func (d dying) ReleaseSandbox(ctx context.Context, id string) error {
	err := d.kernel.ReleaseSandbox(ctx, id)
	d.die()
	return err
}

func (d dying) Mount(dir string, size int64) error {
	err := d.kernel.Mount(dir, size)
	d.die()
	return err
}

func (d dying) Setup(ctx context.Context, p network.Pod) (*network.Result, error) {
	r, err := d.kernel.Setup(ctx, p)
	d.die()
	return r, err
}

func TestBadRecordIsSetAside(t *testing.T) {
	f := newFixture(t)
	ids := make([]string, 2)
	for i := range ids {
		var err error
		if ids[i], err = f.Run(t.Context(), config(fmt.Sprint("p", i)), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(f.l.PodRecords(), ids[0], "record"), 30); err != nil {
		t.Fatal(err)
	}
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	f.Finish(t.Context())
	if _, err := f.Get(ids[0]); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("torn record came back: %v", err)
	}
	if v, err := f.Get(ids[1]); err != nil || v.State != lifecycle.PodReady {
		t.Errorf("its neighbour: %v", err)
	}
	if _, err := os.Stat(f.l.PodState(ids[0])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("live state of the torn one: %v", err)
	}
}

func TestNetworkPod(t *testing.T) {
	cfg := config("web")
	cfg.PortMappings = []*runtimeapi.PortMapping{
		{ContainerPort: 80, HostPort: 8080, HostIp: "127.0.0.1"},
		{ContainerPort: 53, HostPort: 5353, Protocol: runtimeapi.Protocol_UDP},
		{ContainerPort: 9000}, // told, not mapped
	}
	got := networkPod(&Pod{ID: "x", Config: cfg}).Ports
	want := []network.PortMapping{
		{Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80},
		{Protocol: "udp", HostPort: 5353, ContainerPort: 53},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

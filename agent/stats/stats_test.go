package stats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/pods"
	slipruntime "github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

func TestRate(t *testing.T) {
	var r rates
	t0 := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		cpu   uint64
		want  uint64
	}{
		{0, 5_000_000_000, 0},                               // the first
		{100 * time.Millisecond, 6_000_000_000, 0},          // too soon after it
		{2 * time.Second, 6_000_000_000, 500_000_000},       // half a core since the first
		{2100 * time.Millisecond, 9_000_000_000, 500000000}, // too soon: the last rate
		{4 * time.Second, 10_000_000_000, 2_000_000_000},
		{6 * time.Second, 1, 0}, // a new cgroup of that name
	} {
		if got := r.rate("/c", t0.Add(step.after), step.cpu); got != step.want {
			t.Errorf("after %v: %d, want %d", step.after, got, step.want)
		}
	}
	r.rate("/d", t0.Add(2*rateKept), 1)
	if len(r.last) != 1 {
		t.Errorf("%d readings kept, want only the new one", len(r.last))
	}
}

func TestParseNetDev(t *testing.T) {
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
eth0.5:1:   7       1    0    0    0     0          0         0      8       1    0    0    0     0       0          0
  eth0: 4711      40    2    3    0     0          0         0     1234      30    5    6    0     0       0          0
`
	got := primaryFirst(parseNetDev([]byte(dev)), &pods.Pod{Network: &network.Result{Iface: "eth0"}})
	want := []Interface{
		{Name: "eth0", RxBytes: 4711, RxPackets: 40, RxErrors: 2, RxDrops: 3, TxBytes: 1234, TxPackets: 30, TxErrors: 5, TxDrops: 6},
		{Name: "eth0.5:1", RxBytes: 7, RxPackets: 1, TxBytes: 8, TxPackets: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDU(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(dir+"/a/b", 0o755))
	must(os.WriteFile(dir+"/a/b/f", make([]byte, 100_000), 0o600))
	must(os.Link(dir+"/a/b/f", dir+"/hard"))
	must(os.Symlink("/usr", dir+"/usr"))
	sparse, err := os.Create(dir + "/sparse")
	must(err)
	must(sparse.Truncate(1 << 40))
	must(sparse.Close())

	bytes, inodes, err := du(dir)
	if err != nil {
		t.Fatal(err)
	}
	if inodes != 6 { // dir, a, b, f (once), usr, sparse
		t.Errorf("%d inodes, want 6", inodes)
	}
	if bytes < 100_000 || bytes > 300_000 {
		t.Errorf("%d bytes, want about 100,000: the hard link once, the hole not at all", bytes)
	}
	if _, _, err := du(dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestDiskKeepsSizes(t *testing.T) {
	dir := t.TempDir()
	var d disk
	long := time.Now().Add(10 * time.Second)
	first := d.size(dir, long)
	if first.inodes != 1 || first.at.IsZero() {
		t.Fatalf("first %+v", first)
	}
	if err := os.WriteFile(dir+"/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := d.size(dir, long); again != first {
		t.Errorf("measured again within %v: %+v", sizeKept, again)
	}
	d.mu.Lock()
	m := d.dirs[dir]
	m.next, m.tried, m.first = time.Time{}, false, make(chan struct{})
	d.mu.Unlock()
	if later := d.size(dir, long); later.inodes != 2 {
		t.Errorf("after its time: %+v", later)
	}
	begun := time.Now()
	if none := d.size(dir+"/none", begun.Add(10*time.Millisecond)); !none.at.IsZero() {
		t.Errorf("size of nothing: %+v", none)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("waited %v for what cannot be measured", took)
	}
}

// node is the services that stats stand on, as data.
type node struct {
	pods       []*pods.Pod
	containers []*containers.Container
	usage      map[string]*slipruntime.Usage
	broken     error
}

type podList struct{ *node }
type containerList struct{ *node }

func (n podList) List() []*pods.Pod { return n.pods }
func (n podList) Get(id string) (*pods.Pod, error) {
	for _, p := range n.pods {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, lifecycle.ErrNotFound
}

func (n containerList) List() []*containers.Container { return n.containers }
func (n containerList) Get(id string) (*containers.Container, error) {
	for _, c := range n.containers {
		if c.ID == id {
			return c, nil
		}
	}
	return nil, lifecycle.ErrNotFound
}

func (n *node) Usage(cgroup string) (*slipruntime.Usage, error) {
	if n.broken != nil {
		return nil, n.broken
	}
	if u := n.usage[cgroup]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("cgroup %s: %w", cgroup, lifecycle.ErrNotFound)
}

func (n *node) Detail(cgroup string, processes bool) (*slipruntime.Detail, error) {
	u, err := n.Usage(cgroup)
	if err != nil {
		return nil, err
	}
	d := &slipruntime.Detail{}
	d.CPUNanos = u.CPUNanos
	if processes {
		d.Processes = 2
	}
	return d, nil
}

func newStats(t *testing.T, n *node) *Stats {
	t.Helper()
	s := New(Options{Layout: layout.New(t.TempDir(), t.TempDir()), Pods: podList{n}, Containers: containerList{n}, Runtime: n})
	s.counters = func(_ context.Context, pins []string) (map[string][]Interface, error) {
		out := map[string][]Interface{}
		for _, p := range pins {
			out[p] = []Interface{{Name: "net1"}, {Name: "eth0", RxBytes: 5}}
		}
		return out, nil
	}
	return s
}

func testNode() *node {
	return &node{
		pods: []*pods.Pod{
			{ID: "p1", State: lifecycle.PodReady, CgroupPath: "/p1", NetNS: "/pins/p1"},
			{ID: "p2", State: lifecycle.PodReady, CgroupPath: "/p2"}, // host network
			{ID: "p3", State: lifecycle.PodNotReady, CgroupPath: "/p3"},
		},
		containers: []*containers.Container{
			{ID: "c1", PodID: "p1", State: lifecycle.ContainerRunning, CgroupPath: "/p1/c1"},
			{ID: "c2", PodID: "p1", State: lifecycle.ContainerExited, CgroupPath: "/p1/c2"},
			{ID: "c3", PodID: "p2", State: lifecycle.ContainerRunning, CgroupPath: "/p2/c3"}, // has just ended: no cgroup
		},
		usage: map[string]*slipruntime.Usage{
			"/p1":    {At: time.Unix(1000, 0), CPUNanos: 100},
			"/p1/c1": {At: time.Unix(1000, 0), CPUNanos: 50},
			"/p2":    {At: time.Unix(1000, 0)},
			"/p1/c2": {At: time.Unix(1000, 0), CPUNanos: 1},
		},
	}
}

func TestService(t *testing.T) {
	n := testNode()
	s := newStats(t, n)
	ctx := context.Background()
	all, err := s.Pods(ctx, nil)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d pods, %v", len(all), err)
	}
	p1, p2, p3 := all[0], all[1], all[2]
	if p1.Usage.CPUNanos != 100 || p1.NanoCores != 0 || len(p1.Containers) != 2 || p1.Interfaces[0].Name != "eth0" {
		t.Errorf("p1: %+v", p1)
	}
	if p1.Containers[0].Usage.CPUNanos != 50 || p1.Containers[1].Usage != nil {
		t.Errorf("containers of p1: %+v", p1.Containers)
	}
	if len(p2.Interfaces) != 0 || p2.Containers[0].Usage != nil {
		t.Errorf("p2: %+v", p2)
	}
	if p3.Usage != nil || len(p3.Containers) != 0 {
		t.Errorf("p3: %+v", p3)
	}
	n.usage["/p1"] = &slipruntime.Usage{At: time.Unix(1002, 0), CPUNanos: 100 + 1e9}
	n.usage["/p1/c1"] = &slipruntime.Usage{At: time.Unix(1002, 0), CPUNanos: 50 + 4e9}
	p, err := s.Pod(ctx, "p1")
	if err != nil || p.NanoCores != 5e8 || p.Containers[0].NanoCores != 2e9 {
		t.Errorf("second reading: %+v, %v", p, err)
	}
	if _, err := s.Pod(ctx, "none"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("unknown pod: %v", err)
	}
}

func TestContainers(t *testing.T) {
	n := testNode()
	s := newStats(t, n)
	ctx := context.Background()
	upper := filepath.Join(s.o.Layout.ContainerDir("c1"), "upper")
	if err := os.MkdirAll(upper+"/made/inside", 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := s.Container(ctx, "c1")
	if err != nil || c.WritableInodes != 3 || c.WritableDir != upper || c.WritableAt.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	got, err := s.Containers(ctx, func(c *containers.Container) bool { return c.PodID == "p1" })
	if err != nil || len(got) != 2 || got[0].Container.ID != "c1" {
		t.Errorf("%+v, %v", got, err)
	}
	n.broken = errors.New("no such device")
	if _, err := s.Containers(ctx, nil); !errors.Is(err, n.broken) {
		t.Errorf("a cgroup that cannot be read: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Containers(ended, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// TestCounters reads the links of a real network namespace, and that of one that is gone.
func TestCounters(t *testing.T) {
	kerneltest.NeedRoot(t)
	dir := t.TempDir()
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{dir}})
	pin := filepath.Join(dir, "net")
	if err := os.WriteFile(pin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	throwAway(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", pin, "", unix.MS_BIND, "")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(pin, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	got, err := readCounters(context.Background(), []string{pin, dir + "/gone"})
	if err != nil {
		t.Fatal(err)
	}
	links, ok := got[pin]
	if !ok || len(got) != 1 {
		t.Fatalf("%v", got)
	}
	for _, l := range links { // a new namespace has loopback, and on some kernels idle tunnels
		if l.Name == "lo" || l.RxBytes != 0 || strings.HasPrefix(l.Name, "eth") {
			t.Errorf("link %+v in a new namespace", l)
		}
	}
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if main, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || main != here {
		t.Errorf("this thread is in %s, %v; the process in %s", main, err, here)
	}
}

func BenchmarkContainers500(b *testing.B) {
	n := &node{usage: map[string]*slipruntime.Usage{}}
	for i := range 500 {
		id := fmt.Sprintf("c%d", i)
		n.containers = append(n.containers, &containers.Container{ID: id, State: lifecycle.ContainerRunning, CgroupPath: "/" + id})
		n.usage["/"+id] = &slipruntime.Usage{At: time.Now()}
	}
	s := New(Options{Layout: layout.New(b.TempDir(), b.TempDir()), Pods: podList{n}, Containers: containerList{n}, Runtime: n})
	for b.Loop() {
		if _, err := s.Containers(context.Background(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

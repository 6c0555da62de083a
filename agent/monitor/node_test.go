package monitor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/initconf"
	_ "github.com/slipway-cri/slipway/oci/initproc/reexec" // this binary is slipway-init too
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

func TestMain(m *testing.M) {
	MaybeRun()
	os.Exit(m.Run())
}

const testTimeout = 30 * time.Second

// node is a monitor process with containers that run busybox in a bind root.
type node struct {
	t      testing.TB
	ctx    context.Context
	dir    string
	root   string
	cfg    StartConfig
	client *Client

	mu    sync.Mutex
	exits map[string]Exit
	news  chan struct{} // closed and replaced at each exit
}

func newNode(t testing.TB) *node {
	t.Helper()
	kerneltest.NeedRoot(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static /bin/busybox")
	}
	dir := t.TempDir()
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{dir}})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, ctx: ctx, dir: dir, root: filepath.Join(dir, "root"),
		exits: map[string]Exit{}, news: make(chan struct{}),
		cfg: StartConfig{
			Path: self, Init: self, State: filepath.Join(dir, "state"),
			Env: []string{"GORACE=atexit_sleep_ms=0"}, // the race detector's programs end a second late otherwise
		},
	}
	if bin := os.Getenv("SLIPWAY_TEST_BIN"); bin != "" { // a directory with the production programs
		n.cfg.Path, n.cfg.Init = filepath.Join(bin, "slipway-monitor"), filepath.Join(bin, "slipway-init")
	}
	for _, d := range []string{"bin", "proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(n.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	n.connect(Start(ctx, n.cfg))
	t.Cleanup(n.end)
	return n
}

func (n *node) connect(c *Client, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
	n.client = c
	go func() {
		for e := range c.Exits() {
			n.mu.Lock()
			n.exits[e.ID] = e
			close(n.news)
			n.news = make(chan struct{})
			n.mu.Unlock()
		}
	}()
}

// end kills everything and waits until the monitor is gone.
func (n *node) end() {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	pidfd, err := unix.PidfdOpen(n.client.Pid(), 0)
	if err != nil {
		n.t.Errorf("the monitor is gone: %v", err)
		return
	}
	defer unix.Close(pidfd)
	if err := n.client.Shutdown(ctx, true); err != nil {
		n.t.Errorf("shut down: %v", err)
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(testTimeout.Milliseconds()))
	n.client.Close()
	if log, _ := os.ReadFile(filepath.Join(n.cfg.State, "monitor.log")); len(log) > 0 {
		n.t.Logf("the monitor says:\n%s", log)
	}
}

// exit waits to be told of the end of id.
func (n *node) exit(id string) Exit {
	n.t.Helper()
	for {
		n.mu.Lock()
		e, ok := n.exits[id]
		news := n.news
		n.mu.Unlock()
		if ok {
			return e
		}
		select {
		case <-news:
		case <-n.ctx.Done():
			n.t.Fatalf("%s: no exit was told", id)
		}
	}
}

// allCaps are the capabilities of this machine's root.
func allCaps() initconf.Capabilities {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "CapBnd:\t")
	word, _, _ := strings.Cut(rest, "\n")
	all, _ := strconv.ParseUint(word, 16, 64)
	return initconf.Capabilities{Bounding: all, Effective: all, Permitted: all}
}

func (n *node) config(mode initconf.Mode, script string) *initconf.Config {
	return &initconf.Config{
		Mode: mode, NewSession: true, Cwd: "/", Capabilities: allCaps(),
		Root: initconf.Root{Bind: n.root},
		Mounts: []initconf.Mount{
			{Type: "proc", Source: "proc", Destination: "/proc"},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/dev", Data: "mode=755,size=64k"},
			{Type: "devpts", Source: "devpts", Destination: "/dev/pts", Data: "newinstance,ptmxmode=0666,mode=0620"},
		},
		Devices:     []initconf.Device{{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3, Mode: 0o666}},
		DevSymlinks: true,
		Args:        []string{"/bin/busybox", "sh", "-c", script},
		Env:         []string{"PATH=/bin"},
	}
}

const podFlags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// launch sends cfg along; the request's other fields are the caller's.
func (n *node) launch(cfg *initconf.Config, q LaunchRequest) (*LaunchReply, error) {
	n.t.Helper()
	f, err := container.ConfigMemfd(cfg.Encode())
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	q.Config = f
	reply, err := n.client.Launch(n.ctx, q)
	if err == nil {
		n.t.Cleanup(func() { reply.Pidfd.Close() })
	}
	return reply, err
}

// create makes a container that will run script.
func (n *node) create(id, script string, change ...func(*LaunchRequest, *initconf.Config)) *LaunchReply {
	n.t.Helper()
	cfg := n.config(initconf.ModeContainer, script)
	q := LaunchRequest{ID: id, Kind: KindContainer, CloneFlags: podFlags, LogPath: n.logPath(id)}
	for _, f := range change {
		f(&q, cfg)
	}
	reply, err := n.launch(cfg, q)
	if err != nil {
		n.t.Fatalf("create %s: %v", id, err)
	}
	return reply
}

func (n *node) start(id string) {
	n.t.Helper()
	if _, err := n.client.StartContainer(n.ctx, id); err != nil {
		n.t.Fatalf("start %s: %v", id, err)
	}
}

// exec runs script in target with its stdout and stderr in one pipe.
func (n *node) exec(id, target, script string) (io.ReadCloser, error) {
	n.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Close()
	cfg := n.config(initconf.ModeExec, script)
	cfg.Root, cfg.Mounts, cfg.Devices, cfg.DevSymlinks = initconf.Root{}, nil, nil, false
	cfg.TargetFlags = podFlags &^ unix.CLONE_NEWPID
	_, err = n.launch(cfg, LaunchRequest{ID: id, Kind: KindExec, Target: target, Stdio: [3]*os.File{nil, w, w}})
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (n *node) logPath(id string) string { return filepath.Join(n.dir, id+".log") }

// log is what the container's log says of a stream.
func (n *node) log(id, stream string) string {
	n.t.Helper()
	b, err := os.ReadFile(n.logPath(id))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(joined(n.t, b, stream))
}

// fds counts the monitor's descriptors.
func (n *node) fds() string {
	dir := fmt.Sprintf("/proc/%d/fd", n.client.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		n.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		l, _ := os.Readlink(filepath.Join(dir, e.Name()))
		all = append(all, l)
	}
	return fmt.Sprintf("%d\n%s", len(all), strings.Join(all, "\n"))
}

// balanced waits until the monitor has the descriptors of before.
func (n *node) balanced(before string) {
	n.t.Helper()
	for end := time.Now().Add(5 * time.Second); n.fds() != before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Errorf("the monitor had the descriptors %s\nand has %s", before, n.fds())
			return
		}
	}
}

// await waits for a condition of the kernel's that has no event.
func (n *node) await(what string, ok func() bool) {
	n.t.Helper()
	for !ok() {
		if n.ctx.Err() != nil {
			n.t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestContainerLogsAndExit(t *testing.T) {
	n := newNode(t)
	before := n.fds()
	reply := n.create("c1", "echo out; echo err >&2; echo -n tail; exit 3")
	if reply.Pid <= 0 {
		t.Fatal("no pid")
	}
	if _, err := os.Stat(filepath.Join(n.cfg.State, "exits", "c1")); err == nil {
		t.Error("an exit record before the exit")
	}
	n.start("c1")
	e := n.exit("c1")
	if e.Code != 3 || e.Signal != 0 || e.OOMKilled || e.StartedAt.IsZero() || e.FinishedAt.Before(e.StartedAt) {
		t.Errorf("exit %+v", e)
	}
	if rec, err := ReadExit(filepath.Join(n.cfg.State, "exits"), "c1"); err != nil || !rec.FinishedAt.Equal(e.FinishedAt) {
		t.Errorf("record %+v, %v", rec, err)
	}
	if got := n.log("c1", "stdout"); got != "out\ntail" {
		t.Errorf("stdout %q", got)
	}
	if got := n.log("c1", "stderr"); got != "err\n" {
		t.Errorf("stderr %q", got)
	}
	list, err := n.client.List(n.ctx)
	if err != nil || len(list) != 1 || list[0].State != StateExited || list[0].Exit.Code != 3 {
		t.Errorf("list %+v, %v", list, err)
	}
	if err := n.client.Forget(n.ctx, "c1"); err != nil {
		t.Error(err)
	}
	if err := n.client.Forget(n.ctx, "c1"); err != nil {
		t.Errorf("forget again: %v", err)
	}
	if _, err := ReadExit(filepath.Join(n.cfg.State, "exits"), "c1"); err == nil {
		t.Error("the record outlives Forget")
	}
	n.balanced(before)
}

func TestSignals(t *testing.T) {
	n := newNode(t)
	n.create("c1", "exec busybox sleep 1000")
	n.start("c1")
	if err := n.client.Signal(n.ctx, "c1", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("c1"); e.Code != 137 || e.Signal != 9 {
		t.Errorf("exit %+v", e)
	}
	// Killed at its start gate, it ran nothing.
	n.create("c2", "echo ran")
	if err := n.client.Signal(n.ctx, "c2", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("c2"); e.Code != 137 || !e.StartedAt.IsZero() {
		t.Errorf("exit %+v", e)
	}
	if got := n.log("c2", "stdout"); got != "" {
		t.Errorf("it ran: %q", got)
	}
}

func TestFiftyContainers(t *testing.T) {
	n := newNode(t)
	before := n.fds()
	var wg sync.WaitGroup
	for w := range 5 {
		wg.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("c%d-%d", w, i)
				cfg := n.config(initconf.ModeContainer, "echo "+id+"; exit "+fmt.Sprint(i))
				_, err := n.launch(cfg, LaunchRequest{ID: id, Kind: KindContainer, CloneFlags: podFlags, LogPath: n.logPath(id)})
				if err == nil {
					_, err = n.client.StartContainer(n.ctx, id)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for w := range 5 {
		for i := range 10 {
			id := fmt.Sprintf("c%d-%d", w, i)
			if e := n.exit(id); e.Code != i {
				t.Errorf("%s: %+v", id, e)
			}
			if got := n.log(id, "stdout"); got != id+"\n" {
				t.Errorf("%s: %q", id, got)
			}
		}
	}
	if list, err := n.client.List(n.ctx); err != nil || len(list) != 50 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	n.balanced(before)
}

func TestOutputOfMegabytes(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox seq 1 400000; busybox yes 0123456789 | busybox head -c 3000000 | busybox tr -d '\\n' >&2")
	n.start("c1")
	n.exit("c1")
	var want bytes.Buffer
	for i := 1; i <= 400000; i++ {
		fmt.Fprintln(&want, i)
	}
	if got := n.log("c1", "stdout"); got != want.String() {
		t.Errorf("stdout has %d bytes, want %d", len(got), want.Len())
	}
	all := strings.ReplaceAll(strings.Repeat("0123456789\n", 300000)[:3000000], "\n", "")
	if got := n.log("c1", "stderr"); got != all {
		t.Errorf("stderr has %d bytes, want %d", len(got), len(all))
	}
}

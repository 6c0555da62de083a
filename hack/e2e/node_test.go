package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// patience bounds every wait. It is long because the tests run under software emulation too; nothing is
// concluded from how long something takes.
const patience = 2 * time.Minute

// node is an agent of the test's own. Its methods fail the test on an error.
type node struct {
	t      testing.TB
	ctx    context.Context
	layout layout.Layout
	dir    string // of everything that belongs to the test
	socket string
	flags  []string

	agent   *agentProcess // nil between kill and start
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// startNode runs an agent that ends, with all that it made, when the test does: the test removes its
// pods, the agent drains, and the books are compared. flags are added to `slipway serve`.
func startNode(t testing.TB, flags ...string) *node {
	t.Helper()
	n := newNode(t, flags...)
	n.start()
	return n
}

// newNode is startNode without the agent's start.
func newNode(t testing.TB, flags ...string) *node {
	t.Helper()
	kerneltest.NeedRoot(t)
	dir, err := os.MkdirTemp("", "e2e") // short: sockets' paths end after 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the test's directory: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	n := &node{t: t, ctx: ctx, dir: dir, socket: filepath.Join(dir, "s.sock"), flags: flags,
		layout: layout.New(filepath.Join(dir, "root"), filepath.Join(dir, "run"))}
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{dir}, Name: n.layout.Tag, Extra: map[string]func() []string{
		"nft": n.nftTables, "pod or container": n.leftovers,
	}})
	n.write("config.toml", "[stop]\ndrain_grace = '1s'\n")
	t.Cleanup(n.end)
	return n
}

// nftTables lists the kernel's tables that carry the node's tag.
func (n *node) nftTables() []string {
	c, err := nftables.New()
	if err != nil {
		return []string{err.Error()}
	}
	tables, err := c.ListTables()
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, t := range tables {
		if strings.Contains(t.Name, n.layout.Tag) {
			out = append(out, t.Name)
		}
	}
	return out
}

// leftovers lists what belongs to a pod, a container or a process in the node's directories.
func (n *node) leftovers() []string {
	var out []string
	for _, pattern := range []string{"pods/*", "containers/*"} {
		found, _ := filepath.Glob(filepath.Join(n.layout.Root, pattern))
		out = append(out, found...)
	}
	for _, dir := range []string{filepath.Join(n.layout.State, "pods"), n.layout.ExitDir()} {
		found, _ := filepath.Glob(filepath.Join(dir, "*"))
		out = append(out, found...)
	}
	for _, s := range []string{n.socket, n.layout.MonitorSocket()} {
		if _, err := os.Lstat(s); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// write makes a file in the test's directory and returns its path.
func (n *node) write(name, data string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// start runs the agent and returns when it answers.
func (n *node) start() {
	n.t.Helper()
	args := append([]string{"serve", "--root", n.layout.Root, "--state", n.layout.State, "--socket", n.socket,
		"--cni-conf-dir", "none", "--drain-on-exit", "--config", filepath.Join(n.dir, "config.toml")}, n.flags...)
	a, err := startAgent(args)
	if err != nil {
		n.t.Fatalf("slipway serve: %v", err)
	}
	n.agent = a
	conn, err := grpc.NewClient("unix://"+n.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		n.t.Fatal(err)
	}
	n.conn, n.runtime, n.images = conn, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
}

// hangUp closes the connection.
func (n *node) hangUp() {
	if n.conn != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
}

// kill ends the agent at once; its monitor and containers live on.
func (n *node) kill() {
	n.t.Helper()
	a := n.agent
	n.agent = nil
	if err := a.cmd.Process.Kill(); err != nil {
		n.t.Fatalf("kill the agent: %v", err)
	}
	<-a.exited
	n.hangUp()
}

// end checks that the test removed its pods, and drains the agent.
func (n *node) end() {
	if n.agent == nil {
		if !n.t.Failed() {
			return // the test ended it
		}
		n.start()
	}
	if !n.t.Failed() {
		n.wantEmpty()
	}
	n.hangUp()
	n.terminate()
}

// terminate sends SIGTERM and waits; the agent must end without an error.
func (n *node) terminate() {
	n.t.Helper()
	a := n.agent
	n.agent = nil
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Errorf("SIGTERM: %v", err)
	}
	select {
	case <-a.exited:
	case <-time.After(patience):
		n.t.Errorf("the agent does not end after SIGTERM")
		_ = a.cmd.Process.Signal(syscall.SIGQUIT)
		<-a.exited
	}
	if a.err != nil {
		n.t.Errorf("the agent ended with %v", a.err)
	}
	if n.t.Failed() {
		monitor, _ := os.ReadFile(n.layout.MonitorLog())
		n.t.Logf("agent:\n%s\nmonitor:\n%s", a.log(), monitor)
	}
}

func (n *node) wantEmpty() {
	n.t.Helper()
	pods, err := n.runtime.ListPodSandbox(n.ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(pods.Items) > 0 {
		n.t.Errorf("pods at the end: %v, %v", pods.GetItems(), err)
	}
	containers, err := n.runtime.ListContainers(n.ctx, &runtimeapi.ListContainersRequest{})
	if err != nil || len(containers.Containers) > 0 {
		n.t.Errorf("containers at the end: %v, %v", containers.GetContainers(), err)
	}
}

// monitorPid finds the node's monitor by the socket in its command line.
func (n *node) monitorPid() int {
	n.t.Helper()
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		data, err := os.ReadFile(f)
		args := strings.Split(string(data), "\x00")
		if err == nil && strings.HasSuffix(args[0], "slipway-monitor") && slices.Contains(args, n.layout.MonitorSocket()) {
			var pid int
			if _, err := fmt.Sscanf(f, "/proc/%d/", &pid); err == nil {
				return pid
			}
		}
	}
	n.t.Fatalf("no monitor of %s", n.layout.State)
	return 0
}

// agentProcess is a running `slipway serve`.
type agentProcess struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once err is there
	err    error

	mu  sync.Mutex
	out bytes.Buffer
}

// startAgent returns when the agent says that it is ready.
func startAgent(args []string) (*agentProcess, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	a := &agentProcess{cmd: exec.Command(filepath.Join(bin, "slipway"), args...), exited: make(chan struct{})}
	a.cmd.Stdout, a.cmd.Stderr = w, w
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	w.Close()
	ready := make(chan struct{})
	go func() {
		a.read(r, ready)
		r.Close()
		a.err = a.cmd.Wait()
		close(a.exited)
	}()
	select {
	case <-ready:
		return a, nil
	case <-a.exited:
		return nil, fmt.Errorf("it ended: %w: %s", a.err, a.log())
	case <-time.After(patience):
		_ = a.cmd.Process.Signal(syscall.SIGQUIT)
		<-a.exited
		return nil, fmt.Errorf("it is not ready: %s", a.log())
	}
}

// read keeps the log until the agent ends; nobody else holds the pipe.
func (a *agentProcess) read(r *os.File, ready chan<- struct{}) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		a.mu.Lock()
		a.out.Write(s.Bytes())
		a.out.WriteByte('\n')
		a.mu.Unlock()
		if ready != nil && strings.Contains(s.Text(), "slipway is ready") {
			close(ready)
			ready = nil
		}
	}
}

func (a *agentProcess) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String()
}

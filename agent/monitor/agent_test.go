package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// TestAgentComesBack: the monitor goes on without an agent, and the next one learns all.
func TestAgentComesBack(t *testing.T) {
	n := newNode(t)
	release := filepath.Join(n.root, "tmp", "go")
	if err := unix.Mkfifo(release, 0o600); err != nil {
		t.Fatal(err)
	}
	n.create("c1", "read x < /tmp/go; echo after; exit 5")
	n.create("c2", "exec busybox sleep 1000")
	n.start("c1")
	n.start("c2")
	pid := n.client.Pid()
	n.client.Close()
	if _, err := n.client.List(n.ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed client lists: %v", err)
	}
	if err := os.WriteFile(release, []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	exits := filepath.Join(n.cfg.State, "exits")
	n.await("c1's record", func() bool { _, err := ReadExit(exits, "c1"); return err == nil })
	n.connect(Start(n.ctx, n.cfg))
	if n.client.Pid() != pid {
		t.Fatal("a second monitor was started")
	}
	list, err := n.client.List(n.ctx)
	if err != nil || len(list) != 2 || list[0].Exit == nil || list[0].Exit.Code != 5 || list[1].State != StateRunning {
		t.Fatalf("list %+v, %v", list, err)
	}
	if got := n.log("c1", "stdout"); got != "after\n" {
		t.Errorf("log %q", got)
	}
	// The newest agent displaces the one before.
	before := n.client
	n.connect(Dial(n.ctx, filepath.Join(n.cfg.State, "monitor.sock")))
	select {
	case <-before.Done():
		if !errors.Is(before.Err(), lifecycle.ErrUnavailable) {
			t.Errorf("displaced: %v", before.Err())
		}
	case <-n.ctx.Done():
		t.Fatal("two agents at once")
	}
	if err := n.client.Signal(n.ctx, "c2", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.client.Signal(n.ctx, "c2", unix.SIGKILL); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		t.Fatal(err)
	}
	n.exit("c2")
}

// TestSecondMonitor: the lock keeps a socket's owner its only one.
func TestSecondMonitor(t *testing.T) {
	n := newNode(t)
	cfg := n.cfg
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	err := spawn(n.ctx, cfg)
	if err == nil || !strings.Contains(err.Error(), "another monitor serves") {
		t.Errorf("a second monitor: %v", err)
	}
	st, err := os.Stat(cfg.Socket)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", st, err)
	}
}

// TestNoAbstractSockets: a pod on the node's network sees all abstract sockets (CVE-2020-15257), so
// neither end of ours may be one, nor an attachment's.
func TestNoAbstractSockets(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox sleep 100")
	n.start("c1")
	a, err := n.client.Attach(n.ctx, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ours := map[string]bool{} // by inode
	for _, pid := range []int{os.Getpid(), n.client.Pid()} {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			target, _ := os.Readlink(filepath.Join(dir, fd.Name()))
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				ours[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // Num RefCount Protocol Flags Type St Inode [Path], proc_net(5)
		if len(f) < 8 || !ours[f[6]] {
			continue
		}
		named++
		if strings.HasPrefix(f[7], "@") || filepath.Base(f[7]) != "monitor.sock" {
			t.Errorf("a socket of ours is %q", f[7])
		}
	}
	if named == 0 {
		t.Error("the monitor's own socket is not in the table")
	}
}

// TestStartAgain: an agent that missed the first answer asks again and gets it.
func TestStartAgain(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox sleep 100")
	first, err := n.client.StartContainer(n.ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.client.StartContainer(n.ctx, "c1")
	if err != nil || !again.Equal(first) {
		t.Errorf("%s, then %s: %v", first, again, err)
	}
}

// TestConsoleCanBeGivenUp: reading an exec's console ends at a deadline and at Close, whoever else still has the
// terminal open.
func TestConsoleCanBeGivenUp(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox sleep 100")
	n.start("c1")
	cfg := n.config(initconf.ModeExec, "busybox sleep 100")
	cfg.Root, cfg.Mounts, cfg.Devices, cfg.DevSymlinks = initconf.Root{}, nil, nil, false
	cfg.TargetFlags, cfg.Terminal = podFlags&^unix.CLONE_NEWPID, true
	reply, err := n.launch(cfg, LaunchRequest{ID: "e1", Kind: KindExec, Target: "c1", Terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := reply.Console.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := reply.Console.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if err := reply.Console.Close(); err != nil {
		t.Error(err)
	}
}

// TestKilledAgent: an agent that is killed leaves its containers running. The agent is
// this test binary, started anew with a role in its environment.
func TestKilledAgent(t *testing.T) {
	if state := os.Getenv("SLIPWAY_TEST_AGENT"); state != "" {
		c, err := Dial(context.Background(), filepath.Join(state, "monitor.sock"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.StartContainer(context.Background(), "c1"); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	n := newNode(t)
	n.create("c1", "echo one; read x < /tmp/go; echo two; exit 9")
	if err := unix.Mkfifo(filepath.Join(n.root, "tmp", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(self, []string{self, "-test.run=^TestKilledAgent$"},
		&os.ProcAttr{Env: append(os.Environ(), "SLIPWAY_TEST_AGENT="+n.cfg.State)})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(); err != nil || st.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the agent ended with %v, %v", st, err)
	}
	n.connect(Dial(n.ctx, filepath.Join(n.cfg.State, "monitor.sock")))
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "go"), []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("c1"); e.Code != 9 {
		t.Errorf("exit %+v", e)
	}
	if got := n.log("c1", "stdout"); got != "one\ntwo\n" {
		t.Errorf("log %q", got)
	}
}

// TestKilledMonitor: exit records outlive the monitor, a container at its start gate runs
// nothing, and the next monitor takes the socket over.
func TestKilledMonitor(t *testing.T) {
	n := newNode(t)
	exits := filepath.Join(n.cfg.State, "exits")
	n.create("c1", "exit 6")
	n.start("c1")
	n.exit("c1")
	n.create("c2", "echo ran")
	if err := syscall.Kill(n.client.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.client.Done():
	case <-n.ctx.Done():
		t.Fatal("the client does not notice")
	}
	if err := n.client.Signal(n.ctx, "c2", 0); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("a request to nobody: %v", err)
	}
	n.connect(Start(n.ctx, n.cfg))
	if list, err := n.client.List(n.ctx); err != nil || len(list) != 0 {
		t.Errorf("list %+v, %v", list, err)
	}
	if e, err := ReadExit(exits, "c1"); err != nil || e.Code != 6 {
		t.Errorf("record %+v, %v", e, err)
	}
	if err := n.client.Forget(n.ctx, "c1"); err != nil {
		t.Error(err)
	}
	if _, err := ReadExit(exits, "c1"); err == nil {
		t.Error("the record outlives Forget")
	}
	if got := n.log("c2", "stdout"); got != "" {
		t.Errorf("it ran: %q", got)
	}
}

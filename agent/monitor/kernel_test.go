package monitor

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
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

func TestExec(t *testing.T) {
	n := newNode(t)
	n.create("c1", "exec busybox sleep 1000")
	if _, err := n.exec("early", "c1", "true"); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("exec before the start: %v", err)
	}
	n.start("c1")
	r, err := n.exec("e1", "c1", "echo $$; busybox ps | busybox grep -c sleep; exit 7")
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	r.Close()
	pid, _, _ := strings.Cut(string(out), "\n")
	if pid == "1" || len(pid) > 3 {
		t.Errorf("the exec is not in the container's PID namespace: %q", out)
	}
	if e := n.exit("e1"); e.Code != 7 || e.StartedAt.IsZero() {
		t.Errorf("exit %+v", e)
	}
	// What does not exist fails as init says it, and leaves nothing.
	cfg := n.config(initconf.ModeExec, "")
	cfg.Args = []string{"/bin/absent"}
	cfg.Root, cfg.Mounts, cfg.Devices, cfg.DevSymlinks = initconf.Root{}, nil, nil, false
	cfg.TargetFlags = podFlags &^ unix.CLONE_NEWPID
	_, err = n.launch(cfg, LaunchRequest{ID: "e2", Kind: KindExec, Target: "c1"})
	var le *LaunchError
	if !errors.As(err, &le) || le.Errno != int(unix.ENOENT) {
		t.Errorf("exec of nothing: %v", err)
	}
	if _, err := n.exec("e3", "nobody", "true"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("exec in nothing: %v", err)
	}
	list, err := n.client.List(n.ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("list %+v, %v", list, err)
	}
	if err := n.client.Signal(n.ctx, "c1", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.exit("c1")
	if _, err := n.exec("e4", "c1", "true"); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("exec after the exit: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t)
	n.create("c1", "exec busybox sleep 1000")
	n.start("c1")
	cfg := n.config(initconf.ModeExec, "busybox stty size; read line; echo got $line")
	cfg.Root, cfg.Mounts, cfg.Devices, cfg.DevSymlinks = initconf.Root{}, nil, nil, false
	cfg.TargetFlags = podFlags &^ unix.CLONE_NEWPID
	cfg.Terminal, cfg.ConsoleHeight, cfg.ConsoleWidth = true, 33, 77
	reply, err := n.launch(cfg, LaunchRequest{ID: "e1", Kind: KindExec, Target: "c1", Terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Console.Close()
	if _, err := reply.Console.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	n.exit("e1")
	out, _ := io.ReadAll(reply.Console) // ends with EIO, as terminals do
	if !strings.Contains(string(out), "33 77\r\n") || !strings.Contains(string(out), "got hello\r\n") {
		t.Errorf("the terminal says %q", out)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	n := newNode(t)
	n.create("c1", "exec busybox sleep 1000", func(q *LaunchRequest, _ *initconf.Config) { q.CloneFlags &^= unix.CLONE_NEWPID })
	n.start("c1")
	r, err := n.exec("e1", "c1", "busybox sleep 0.2 & echo $!")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var pid int
	if _, err := fmt.Fscan(r, &pid); err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	n.exit("e1")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil && !strings.Contains(string(status), fmt.Sprintf("PPid:\t%d\n", n.client.Pid())) {
		t.Errorf("the orphan is not the monitor's:\n%s", status)
	}
	n.await("the orphan is reaped", func() bool {
		return unix.PidfdSendSignal(pidfd, 0, nil, 0) == unix.ESRCH
	})
}

func TestLaunchThatFails(t *testing.T) {
	n := newNode(t)
	before := n.fds()
	cfg := n.config(initconf.ModeContainer, "true")
	cfg.Mounts = append(cfg.Mounts, initconf.Mount{Type: "bind", Source: "/absent/source", Destination: "/mnt", Flags: unix.MS_BIND})
	q := LaunchRequest{ID: "c1", Kind: KindContainer, CloneFlags: podFlags, LogPath: n.logPath("c1"), Stdin: true}
	var le *LaunchError
	if _, err := n.launch(cfg, q); !errors.As(err, &le) || le.Errno != int(unix.ENOENT) {
		t.Errorf("a mount of nothing: %v", err)
	}
	q.LogPath = filepath.Join(n.dir, "absent", "log")
	if _, err := n.launch(n.config(initconf.ModeContainer, "true"), q); !errors.As(err, &le) || le.Path != q.LogPath {
		t.Errorf("a log in no directory: %v", err)
	}
	for _, id := range []string{"", "../x", "a b", ".x"} {
		q.ID = id
		if _, err := n.launch(n.config(initconf.ModeContainer, "true"), q); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	if list, err := n.client.List(n.ctx); err != nil || len(list) != 0 {
		t.Errorf("list %+v, %v", list, err)
	}
	n.balanced(before)
	n.create("c1", "true") // the id is free
	if _, err := n.launch(n.config(initconf.ModeContainer, "true"), LaunchRequest{ID: "c1", Kind: KindContainer}); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("twice the same id: %v", err)
	}
}

// TestStartThatFails: a missing program is the start's error, and an exit like any other.
func TestStartThatFails(t *testing.T) {
	n := newNode(t)
	n.create("c1", "", func(_ *LaunchRequest, c *initconf.Config) { c.Args = []string{"/bin/absent"} })
	var le *LaunchError
	if _, err := n.client.StartContainer(n.ctx, "c1"); !errors.As(err, &le) || le.Errno != int(unix.ENOENT) {
		t.Errorf("start: %v", err)
	}
	if e := n.exit("c1"); e.Code == 0 || !e.StartedAt.IsZero() {
		t.Errorf("exit %+v", e)
	}
	if _, err := n.client.StartContainer(n.ctx, "c1"); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("start again: %v", err)
	}
}

func TestHolders(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		id    string
		mode  initconf.Mode
		state State
	}{{"holder", initconf.ModeHolder, StateExited}, {"reaper", initconf.ModeReaper, StateRunning}} {
		if c.mode == initconf.ModeReaper && dynamic(t) {
			t.Log("no reaper: it starts over in an empty root, where a dynamically linked test binary finds no loader")
			continue
		}
		cfg := n.config(c.mode, "")
		cfg.Root, cfg.Mounts, cfg.Devices, cfg.DevSymlinks, cfg.Args = initconf.Root{}, nil, nil, false, nil
		cfg.Hostname = "pod"
		reply, err := n.launch(cfg, LaunchRequest{ID: c.id, Kind: KindHolder, CloneFlags: podFlags})
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.PidfdSendSignal(int(reply.Pidfd.Fd()), 0, nil, 0); err != nil {
			t.Errorf("%s does not wait: %v", c.id, err)
		}
		if err := n.client.Release(n.ctx, c.id); err != nil {
			t.Fatalf("release %s: %v", c.id, err)
		}
		if err := n.client.Release(n.ctx, c.id); !errors.Is(err, lifecycle.ErrState) {
			t.Errorf("release %s again: %v", c.id, err)
		}
		list, err := n.client.List(n.ctx)
		if err != nil || list[len(list)-1].State != c.state {
			t.Errorf("%s: list %+v, %v", c.id, list, err)
		}
	}
	if e := n.exit("holder"); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	n.create("c1", "true")
	if err := n.client.Forget(n.ctx, "c1"); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("forget what lives: %v", err)
	}
	if err := n.client.Shutdown(n.ctx, false); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("shut down with a child: %v", err)
	}
}

// dynamic says whether this binary needs a loader.
func dynamic(t *testing.T) bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}

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

func TestReopenUnderLoad(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox seq 1 300000; read x < /tmp/go")
	if err := unix.Mkfifo(filepath.Join(n.root, "tmp", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start("c1")
	var files []string
	for i := range 20 {
		old := fmt.Sprintf("%s.%d", n.logPath("c1"), i)
		if err := os.Rename(n.logPath("c1"), old); err != nil {
			t.Fatal(err)
		}
		files = append(files, old)
		if err := n.client.ReopenLog(n.ctx, "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "go"), []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	n.exit("c1")
	var all []byte
	for _, f := range append(files, n.logPath("c1")) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, joined(t, b, "stdout")...)
	}
	var want bytes.Buffer
	for i := 1; i <= 300000; i++ {
		fmt.Fprintln(&want, i)
	}
	if !bytes.Equal(all, want.Bytes()) {
		t.Errorf("%d bytes in all logs, want %d", len(all), want.Len())
	}
	if err := n.client.ReopenLog(n.ctx, "c1"); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("reopen after the exit: %v", err)
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

// TestGrandchildKeepsStdout: what outlives the main process does not hold up its exit,
// and is still logged.
func TestGrandchildKeepsStdout(t *testing.T) {
	n := newNode(t)
	if err := unix.Mkfifo(filepath.Join(n.root, "tmp", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.create("c1", "(read x < /tmp/go; echo late) & echo early; exit 4",
		func(q *LaunchRequest, _ *initconf.Config) { q.CloneFlags &^= unix.CLONE_NEWPID })
	n.start("c1")
	if e := n.exit("c1"); e.Code != 4 {
		t.Errorf("exit %+v", e)
	}
	if got := n.log("c1", "stdout"); got != "early\n" {
		t.Errorf("at the exit the log says %q", got)
	}
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "go"), []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	n.await("the late line", func() bool { return n.log("c1", "stdout") == "early\nlate\n" })
	if err := n.client.Forget(n.ctx, "c1"); err != nil {
		t.Error(err)
	}
}

// TestOOMScore: whether the monitor may lower its own score or not, its children have
// what they would have without it, or what their configuration says.
func TestOOMScore(t *testing.T) {
	n := newNode(t)
	mine, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", n.client.Pid()))
	t.Logf("the monitor's score is %q, %v", own, err)
	n.create("c1", "busybox cat /proc/self/oom_score_adj")
	n.create("c2", "busybox cat /proc/self/oom_score_adj; exec busybox sleep 1000",
		func(_ *LaunchRequest, c *initconf.Config) { c.HasOOMScoreAdj, c.OOMScoreAdj = true, 500 })
	n.start("c1")
	n.exit("c1")
	if got := n.log("c1", "stdout"); got != string(mine) {
		t.Errorf("score %q, want %q", got, mine)
	}
	n.start("c2")
	n.await("c2's score", func() bool { return n.log("c2", "stdout") == "500\n" })
	if string(own) == string(mine) {
		return // an exec inherits the monitor's score, which is everybody's
	}
	r, err := n.exec("e1", "c2", "busybox cat /proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if out, _ := io.ReadAll(r); string(out) != "500\n" {
		t.Errorf("the exec's score is %q", out)
	}
}

// memory is the monitor's resident memory that is its own, in KiB.
func (n *node) memory() (anonymous, all int) {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.client.Pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "RssAnon: %d", &anonymous)
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &all)
	}
	return anonymous, all
}

// TestFootprint: idle containers cost the monitor next to nothing.
func TestFootprint(t *testing.T) {
	n := newNode(t)
	_, idle := n.memory()
	const count = 100
	for i := range count {
		id := fmt.Sprintf("c%d", i)
		n.create(id, "echo hello; exec busybox sleep 1000")
		n.start(id)
	}
	anonymous, all := n.memory()
	each := (all - idle) / count
	t.Logf("idle %d KiB, with %d containers %d KiB (anonymous %d): %d KiB each", idle, count, all, anonymous, each)
	if each > 48 {
		t.Errorf("%d KiB a container", each)
	}
	if os.Getenv("SLIPWAY_TEST_BIN") != "" && idle > 8<<10 {
		t.Errorf("%d KiB idle", idle)
	}
}

func TestPing(t *testing.T) {
	n := newNode(t)
	begin := time.Now()
	const calls = 2000
	for range calls {
		if err := n.client.Signal(n.ctx, "nobody", 0); !errors.Is(err, lifecycle.ErrNotFound) {
			t.Fatal(err)
		}
	}
	t.Logf("%v a call", time.Since(begin)/calls)
}

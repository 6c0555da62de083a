package monitor

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/initconf"
)

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

package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

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

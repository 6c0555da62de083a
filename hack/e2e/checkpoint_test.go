package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tracer is an strace of the node's monitor and of all that it starts.
type tracer struct {
	cmd  *exec.Cmd
	file string
}

// trace returns when strace is attached to every thread of the monitor.
func (n *node) trace() *tracer {
	n.t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		n.t.Skip("no strace here: what is proved with it is proved natively")
	}
	pid := n.monitorPid()
	s := &tracer{file: filepath.Join(n.dir, "trace")}
	s.cmd = exec.Command(path, "-f", "-p", strconv.Itoa(pid), "-e", "trace=execve,execveat,write,read,pipe2", "-e", "signal=none", "-o", s.file)
	errs, err := s.cmd.StderrPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	line, err := bufio.NewReader(errs).ReadString('\n')
	if err != nil || !strings.Contains(line, "attached") {
		n.t.Fatalf("strace says %q, %v", line, err)
	}
	return s
}

// stop detaches and returns the lines.
func (s *tracer) stop(t *testing.T) []string {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // it ends by the signal
	data, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// A token as both sides' system calls show it: one byte, T. strace cuts a call in two lines when another
// thread's comes between; a read's data is in the second.
var (
	tokenWrite = regexp.MustCompile(`^(\d+) +write\((\d+), "T", 1(\) += 1| <unfinished)`)
	tokenRead  = regexp.MustCompile(`^(\d+) +(?:read\(\d+, |<\.\.\. read resumed>)"T", \d+\) += 1$`)
	userExec   = regexp.MustCompile(`^(\d+) +execve(?:at)?\(.*"sleep", "424243"`)
)

func TestTokenBeforeExec(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("traced", nil)
	s := n.trace()
	c := p.create("c", []string{"sleep", "424243"}, nil)
	pid := c.pid()
	if data, err := os.ReadFile(s.file); err != nil || userExec.Match(data) {
		t.Errorf("the program was executed before the start: %v", err)
	}
	c.start()
	lines := s.stop(t)

	var events []string
	executed := false
	for _, l := range lines {
		if m := tokenWrite.FindStringSubmatch(l); m != nil && m[1] != strconv.Itoa(pid) {
			events = append(events, "parent writes")
		}
		if m := tokenRead.FindStringSubmatch(l); m != nil && m[1] == strconv.Itoa(pid) {
			events = append(events, "child reads")
		}
		if m := userExec.FindStringSubmatch(l); m != nil {
			if m[1] != strconv.Itoa(pid) {
				t.Errorf("executed by %s, and the container is %d", m[1], pid)
			}
			if !executed { // each directory of PATH is tried
				events = append(events, "child executes")
			}
			executed = true
		}
	}
	want := "parent writes, child reads, parent writes, child reads, child executes"
	if got := strings.Join(events, ", "); got != want {
		t.Errorf("the monitor's and the container's calls: %s\nwant: %s\n%s", got, want, strings.Join(lines, "\n"))
	}
}

// While a container waits at its start gate its parent dies: the gate closes without a token, and nothing of
// the user's runs.
func TestMonitorKilledAtTheGate(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("gate", nil)
	n.write("volume/none", "")
	c := p.create("c", []string{"sh", "-c", "touch /volume/ran; exec sleep 424244"}, func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: filepath.Join(n.dir, "volume"), ContainerPath: "/volume"}}
	})
	pid := c.pid()
	if err := syscall.Kill(n.monitorPid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the container's process", func() bool { return !isRunning(pid) })
	if _, err := os.Stat(filepath.Join(n.dir, "volume/ran")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the container's program ran: %v", err)
	}
	if found := processes(t, "424244"); len(found) > 0 {
		t.Errorf("processes of the container's program: %v", found)
	}
	if s := c.exit(); s.StartedAt != 0 {
		t.Errorf("a container that never started: %v", s)
	}
	if _, err := n.runtime.StartContainer(n.ctx, &runtimeapi.StartContainerRequest{ContainerId: c.id}); err == nil {
		t.Errorf("it can be started after its end")
	}
	p.remove()
	again := n.runPod("again", nil).run("c", forever, nil) // under a new monitor
	if got := again.sh("echo here"); got != "here" {
		t.Errorf("exec under the new monitor: %q", got)
	}
}

// processes lists those whose arguments contain word.
func processes(t *testing.T, word string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), word) {
			out = append(out, fmt.Sprintf("%s: %q", f, data))
		}
	}
	return out
}

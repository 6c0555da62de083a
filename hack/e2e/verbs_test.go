package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type (
	podConfig       = runtimeapi.PodSandboxConfig
	containerConfig = runtimeapi.ContainerConfig
	securityContext = runtimeapi.LinuxContainerSecurityContext
)

// forever is a command that ends when it is killed.
var forever = []string{"sleep", "1000000"}

// pull brings the tests' image to the node.
func (n *node) pull() {
	n.t.Helper()
	_, err := n.images.PullImage(n.ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: busybox}})
	if err != nil {
		n.t.Fatalf("pull %s: %v", busybox, err)
	}
}

// podConfig is a pod with a log directory; edit may be nil.
func (n *node) podConfig(name string, edit func(*podConfig)) *podConfig {
	c := &podConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: "e2e"},
		LogDirectory: filepath.Join(n.dir, "logs", name),
		Linux:        &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: ownPid()}},
	}
	if edit != nil {
		edit(c)
	}
	return c
}

// ownPid is kubelet's default: a PID namespace a container.
func ownPid() *runtimeapi.NamespaceOption {
	return &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
}

type pod struct {
	*node
	id  string
	cfg *podConfig
}

// runPod starts a pod that is removed when the test ends.
func (n *node) runPod(name string, edit func(*podConfig)) *pod {
	n.t.Helper()
	cfg := n.podConfig(name, edit)
	r, err := n.runtime.RunPodSandbox(n.ctx, &runtimeapi.RunPodSandboxRequest{Config: cfg})
	if err != nil {
		n.t.Fatalf("RunPodSandbox %s: %v", name, err)
	}
	p := &pod{node: n, id: r.PodSandboxId, cfg: cfg}
	n.t.Cleanup(func() {
		if n.agent != nil {
			p.remove()
		}
	})
	return p
}

// remove stops and removes the pod with its containers.
func (p *pod) remove() {
	p.t.Helper()
	if _, err := p.runtime.StopPodSandbox(p.ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Errorf("StopPodSandbox: %v", err)
	}
	if _, err := p.runtime.RemovePodSandbox(p.ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Errorf("RemovePodSandbox: %v", err)
	}
}

func (p *pod) status() *runtimeapi.PodSandboxStatus {
	p.t.Helper()
	r, err := p.runtime.PodSandboxStatus(p.ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil {
		p.t.Fatalf("PodSandboxStatus: %v", err)
	}
	return r.Status
}

// config is a container of the tests' image; edit may be nil.
func (p *pod) config(name string, command []string, edit func(*containerConfig)) *containerConfig {
	c := &containerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: busybox},
		Command:  command,
		LogPath:  name + ".log",
		Linux:    &runtimeapi.LinuxContainerConfig{SecurityContext: &securityContext{NamespaceOptions: ownPid()}},
	}
	if edit != nil {
		edit(c)
	}
	return c
}

type container struct {
	*pod
	id  string
	log string // path
}

func (p *pod) create(name string, command []string, edit func(*containerConfig)) *container {
	p.t.Helper()
	cfg := p.config(name, command, edit)
	r, err := p.runtime.CreateContainer(p.ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: p.id, Config: cfg, SandboxConfig: p.cfg,
	})
	if err != nil {
		p.t.Fatalf("CreateContainer %s: %v", name, err)
	}
	return &container{pod: p, id: r.ContainerId, log: filepath.Join(p.cfg.LogDirectory, cfg.LogPath)}
}

// run creates and starts a container.
func (p *pod) run(name string, command []string, edit func(*containerConfig)) *container {
	p.t.Helper()
	c := p.create(name, command, edit)
	c.start()
	return c
}

func (c *container) start() {
	c.t.Helper()
	if _, err := c.runtime.StartContainer(c.ctx, &runtimeapi.StartContainerRequest{ContainerId: c.id}); err != nil {
		c.t.Fatalf("StartContainer: %v", err)
	}
}

func (c *container) stop(grace int64) {
	c.t.Helper()
	if _, err := c.runtime.StopContainer(c.ctx, &runtimeapi.StopContainerRequest{ContainerId: c.id, Timeout: grace}); err != nil {
		c.t.Fatalf("StopContainer: %v", err)
	}
}

func (c *container) remove() {
	c.t.Helper()
	if _, err := c.runtime.RemoveContainer(c.ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.id}); err != nil {
		c.t.Fatalf("RemoveContainer: %v", err)
	}
}

func (c *container) status() *runtimeapi.ContainerStatus {
	c.t.Helper()
	r, err := c.runtime.ContainerStatus(c.ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.id})
	if err != nil {
		c.t.Fatalf("ContainerStatus: %v", err)
	}
	return r.Status
}

// pid is the container's first process as the node sees it.
func (c *container) pid() int {
	c.t.Helper()
	r, err := c.runtime.ContainerStatus(c.ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.id, Verbose: true})
	if err != nil {
		c.t.Fatalf("ContainerStatus: %v", err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil || info.Pid == 0 {
		c.t.Fatalf("no pid in %q: %v", r.Info, err)
	}
	return info.Pid
}

// execSync runs a command and returns all of the answer.
func (c *container) execSync(command ...string) *runtimeapi.ExecSyncResponse {
	c.t.Helper()
	r, err := c.runtime.ExecSync(c.ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.id, Cmd: command})
	if err != nil {
		c.t.Fatalf("ExecSync %q: %v", command, err)
	}
	return r
}

// sh runs a script that must succeed, and returns its output without the last newline.
func (c *container) sh(script string) string {
	c.t.Helper()
	r := c.execSync("sh", "-c", script)
	if r.ExitCode != 0 {
		c.t.Fatalf("%s: exit code %d, %s%s", script, r.ExitCode, r.Stdout, r.Stderr)
	}
	return strings.TrimSuffix(string(r.Stdout), "\n")
}

// exit waits for the container's end.
func (c *container) exit() *runtimeapi.ContainerStatus {
	c.t.Helper()
	var s *runtimeapi.ContainerStatus
	eventually(c.t, "the container's end", func() bool {
		s = c.status()
		return s.State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	return s
}

// eventually polls what has no event to wait for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// logLine is a line as kubelet reads it: time, stream, full or partial, text.
type logLine struct{ stream, tag, text string }

var logFormat = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP]) (.*)$`)

// readLog parses a log file; every line must be in the format, and a stream's times must not go back.
func readLog(t testing.TB, path string) []logLine {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []logLine
	last := map[string]time.Time{}
	for _, l := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if l == "" && len(data) == 0 {
			break
		}
		m := logFormat.FindStringSubmatch(l)
		if m == nil {
			t.Fatalf("%s: no log line: %q", path, l)
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil || at.Before(last[m[2]]) {
			t.Fatalf("%s: time of %q after %s: %v", path, l, last[m[2]], err)
		}
		last[m[2]] = at
		lines = append(lines, logLine{m[2], m[3], m[4]})
	}
	return lines
}

// output joins the texts of a log file.
func (c *container) output() string {
	c.t.Helper()
	var b strings.Builder
	for _, l := range readLog(c.t, c.log) {
		b.WriteString(l.text)
		if l.tag == "F" {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// wantCode fails unless err has the code and says each of the words.
func wantCode(t testing.TB, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("error is %v, want code %s", err, code)
		return
	}
	wantWords(t, err, words...)
}

// readFields reads a stat file of proc(5) from the state on: the name before it may contain spaces.
func readFields(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:])), nil
}

// wantWords fails unless the error says each of the words.
func wantWords(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not say %q", err, w)
		}
	}
}

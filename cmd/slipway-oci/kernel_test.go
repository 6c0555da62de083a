package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/slipway-cri/slipway/oci/initproc/reexec" // this binary is slipway-init too
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// asCommand makes the test binary slipway-oci itself.
const asCommand = "SLIPWAY_OCI_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

type command struct {
	t    *testing.T
	root string
}

// run gives output, what it complained of, and the exit code.
func (c *command) run(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"--root", c.root, "--init", "/proc/self/exe"}, args...)...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	// Files, not pipes: a created container keeps its streams, and a pipe would be waited for.
	out, e1 := os.Create(filepath.Join(c.t.TempDir(), "out"))
	errs, e2 := os.Create(filepath.Join(c.t.TempDir(), "err"))
	if err := errors.Join(e1, e2); err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	if ee := (&exec.ExitError{}); err != nil && !errors.As(err, &ee) {
		c.t.Fatal(err)
	}
	a, _ := os.ReadFile(out.Name())
	b, _ := os.ReadFile(errs.Name())
	return string(a), string(b), cmd.ProcessState.ExitCode()
}

func (c *command) ok(args ...string) string {
	c.t.Helper()
	out, errs, code := c.run(args...)
	if code != 0 {
		c.t.Fatalf("%v: exit %d: %s", args, code, errs)
	}
	return out
}

func setUp(t *testing.T) (c *command, bundle func(args ...string) string) {
	t.Helper()
	kerneltest.NeedRoot(t)
	if _, err := os.Stat("/bin/busybox"); errors.Is(err, os.ErrNotExist) {
		t.Skip("needs a static /bin/busybox to run in the container")
	}
	c = &command{t: t, root: t.TempDir()}
	name := fmt.Sprintf("slipwayocicmd%d", os.Getpid())
	kerneltest.Balance(t, kerneltest.Scope{Name: name, Dirs: []string{c.root}})
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	return c, func(args ...string) string {
		t.Helper()
		dir := t.TempDir()
		c.ok("spec", "--bundle", dir)
		s := exampleSpec()
		s.Process.Args, s.Process.Env = args, []string{"PATH=/bin"}
		s.Linux.CgroupsPath = "/" + name + "/" + filepath.Base(dir)
		data, err := json.Marshal(s)
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "rootfs/bin"), 0o755)
		}
		for _, d := range []string{"proc", "dev", "sys"} {
			err = errors.Join(err, os.Mkdir(filepath.Join(dir, "rootfs", d), 0o755))
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644),
			os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), program, 0o755))
		for _, a := range []string{"sh", "sleep", "echo"} {
			err = errors.Join(err, os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", a)))
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

func (c *command) status(id string) string {
	c.t.Helper()
	var s struct{ Status string }
	if err := json.Unmarshal([]byte(c.ok("state", id)), &s); err != nil {
		c.t.Fatal(err)
	}
	return s.Status
}

// TestVerbs: each operation is a process of its own, so that the one that created is gone at the start.
func TestVerbs(t *testing.T) {
	c, bundle := setUp(t)
	c.ok("create", "--bundle", bundle("sleep", "1000"), "a")
	defer c.run("delete", "--force", "a")
	if s := c.status("a"); s != "created" {
		t.Errorf("after create: %s", s)
	}
	c.ok("start", "a")
	if s := c.status("a"); s != "running" {
		t.Errorf("after start: %s", s)
	}
	if out, errs, code := c.run("exec", "-e", "X=y", "a", "sh", "-c", "echo $X; exit 4"); code != 4 || out != "y\n" {
		t.Errorf("exec: exit %d: %q %q", code, out, errs)
	}
	if _, errs, code := c.run("exec", "a", "absent"); code != 255 || !strings.Contains(errs, "absent") {
		t.Errorf("exec of what is not there: exit %d: %s", code, errs)
	}
	c.ok("pause", "a")
	if s := c.status("a"); s != "paused" {
		t.Errorf("after pause: %s", s)
	}
	c.ok("resume", "a")
	c.ok("update", "--pids-limit", "20", "a")
	if out := c.ok("list", "-q"); out != "a\n" {
		t.Errorf("list: %q", out)
	}
	if _, errs, code := c.run("delete", "a"); code != 1 || !strings.Contains(errs, "running") {
		t.Errorf("delete of a running one: exit %d: %s", code, errs)
	}
	c.ok("kill", "a", "KILL")
	c.ok("delete", "--force", "a")
	if _, errs, code := c.run("state", "a"); code != 1 || !strings.Contains(errs, "does not exist") {
		t.Errorf("state after delete: exit %d: %s", code, errs)
	}
}

func TestRun(t *testing.T) {
	c, bundle := setUp(t)
	if out, errs, code := c.run("run", "--bundle", bundle("sh", "-c", "echo hi; exit 9"), "r"); code != 9 || out != "hi\n" {
		t.Errorf("exit %d: %q %q", code, out, errs)
	}
	log := filepath.Join(t.TempDir(), "log")
	_, errs, code := c.run("--log", log, "--log-format", "json", "run", "--bundle", bundle("absent"), "r")
	line, err := os.ReadFile(log)
	var entry struct{ Level, Msg string }
	if err == nil {
		err = json.Unmarshal(bytes.TrimSpace(line), &entry)
	}
	if code != 1 || !strings.Contains(errs, "absent") || err != nil || entry.Level != "error" || !strings.Contains(entry.Msg, "absent") {
		t.Errorf("missing program: exit %d: %s; log %s, %v", code, errs, line, err)
	}
	if out := c.ok("list", "-q"); out != "" {
		t.Errorf("left: %q", out)
	}
}

func TestUsage(t *testing.T) {
	c := &command{t: t, root: t.TempDir()}
	for want, args := range map[string][]string{
		"no such command": {"fly"},
		"takes one":       {"start"},
		"unknown signal":  {"kill", "x", "NOPE"},
		"--preserve-fds":  {"create", "--preserve-fds", "3", "x"},
		"systemd":         {"--systemd-cgroup", "list"},
		"invalid value":   {"update", "--memory", "x"},
	} {
		if _, errs, code := c.run(args...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	if out := c.ok("--version"); !strings.Contains(out, "spec: 1.") {
		t.Errorf("version: %q", out)
	}
}

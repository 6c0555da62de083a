package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	now = func() time.Time { return fixedNow }
	os.Unsetenv("SLIPWAY_SOCKET")
	os.Unsetenv("SLIPWAY_CREDS")
	os.Exit(m.Run())
}

func ago(d time.Duration) int64 { return fixedNow.Add(-d).UnixNano() }

// populated is a node with two pods, three containers and three images.
func populated() *fakeNode {
	pod := func(id, name, ns string, state runtimeapi.PodSandboxState, age time.Duration) *runtimeapi.PodSandbox {
		return &runtimeapi.PodSandbox{Id: id, Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: ns, Uid: "u"}, State: state, CreatedAt: ago(age)}
	}
	ctr := func(id, pod, name string, state runtimeapi.ContainerState, age time.Duration) *runtimeapi.Container {
		return &runtimeapi.Container{Id: id, PodSandboxId: pod, Metadata: &runtimeapi.ContainerMetadata{Name: name}, State: state, CreatedAt: ago(age),
			Image: &runtimeapi.ImageSpec{Image: imgID, UserSpecifiedImage: "busybox:1"}}
	}
	pod2 := "aabb" + podID[4:]
	stat := func(ns int64, cpu uint64) []*runtimeapi.ContainerStats {
		u := func(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }
		return []*runtimeapi.ContainerStats{{
			Attributes:    &runtimeapi.ContainerAttributes{Id: ctrID, Metadata: &runtimeapi.ContainerMetadata{Name: "web"}},
			Cpu:           &runtimeapi.CpuUsage{Timestamp: ns, UsageCoreNanoSeconds: u(cpu)},
			Memory:        &runtimeapi.MemoryUsage{WorkingSetBytes: u(5 << 20)},
			WritableLayer: &runtimeapi.FilesystemUsage{UsedBytes: u(12345), InodesUsed: u(3)},
		}}
	}
	return &fakeNode{
		pods: []*runtimeapi.PodSandbox{
			pod(podID, "web", "default", runtimeapi.PodSandboxState_SANDBOX_READY, time.Hour),
			pod(pod2, "job", "batch", runtimeapi.PodSandboxState_SANDBOX_NOTREADY, 72*time.Hour),
		},
		containers: []*runtimeapi.Container{
			ctr(ctrID, podID, "web", runtimeapi.ContainerState_CONTAINER_RUNNING, 30*time.Second),
			ctr("bbbc"+ctrID[4:], podID, "side", runtimeapi.ContainerState_CONTAINER_RUNNING, 3*time.Minute),
			ctr("bbcc"+ctrID[4:], pod2, "main", runtimeapi.ContainerState_CONTAINER_EXITED, 72*time.Hour),
		},
		images: []*runtimeapi.Image{
			{Id: imgID, RepoTags: []string{"docker.io/library/busybox:1", "reg:5000/busybox:x"}, Size: 1500000},
			{Id: "sha256:dddd" + imgID[11:], RepoDigests: []string{"docker.io/library/app@sha256:1"}, Size: 999},
			{Id: "sha256:eeee" + imgID[11:], Size: 5 << 30},
		},
		stats: [][]*runtimeapi.ContainerStats{stat(1e9, 1e9), stat(3e9, 2e9)},
	}
}

func TestGolden(t *testing.T) {
	for name, args := range map[string][]string{
		"pods": {"pods"}, "pods-namespace": {"pods", "-n", "batch"}, "pods-quiet": {"pods", "-q"}, "pods-json": {"pods", "-o", "json"},
		"ps": {"ps"}, "ps-all": {"ps", "-a"}, "ps-pod": {"ps", "-a", "--pod", "job"}, "ps-quiet": {"ps", "-q"}, "ps-json": {"ps", "-o", "json"},
		"images": {"images"}, "images-quiet": {"images", "-q"}, "stats": {"stats", "--interval", "1ns"},
		"inspect-container": {"inspect", "side"}, "inspect-image": {"inspect", "docker.io/library/busybox:1"},
		"pull": {"pull", "a:1"}, "pull-json": {"pull", "-q", "-o", "json", "a:1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := cli(t.Context(), nil, start(t, populated()), args...)
			got := r.out
			if r.err != "" {
				got += "--- stderr\n" + r.err
			}
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.err)
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", d)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	f := populated()
	f.fail = map[string]error{"Exec": status.Error(codes.FailedPrecondition, "container bbbb is exited, not running")}
	socket := start(t, f)
	stale := filepath.Join(t.TempDir(), "stale")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		socket string
		args   []string
		code   int
		says   string
	}{
		"no socket":       {"/nowhere/s", []string{"ps"}, exitNoNode, "is `slipway serve` running?"},
		"no socket, exec": {"/nowhere/s", []string{"exec", "web", "ls"}, exitOwn, "is `slipway serve` running?"},
		"nobody answers":  {stale, []string{"pods"}, exitNoNode, "is `slipway serve` running?"},
		"tcp":             {"tcp://x", []string{"pods"}, exitUsage, "unix://PATH"},
		"unknown verb":    {socket, []string{"frob"}, exitUsage, "frob"},
		"unknown flag":    {socket, []string{"ps", "--frob"}, exitUsage, "slipway ps --help"},
		"arguments":       {socket, []string{"ps", "x"}, exitUsage, "x"},
		"output":          {socket, []string{"ps", "-o", "xml"}, exitUsage, "table or json"},
		"no container":    {socket, []string{"logs", "nope"}, exitError, `no container "nope"`},
		"ambiguous":       {socket, []string{"logs", "bb"}, exitError, "means several"},
		"own message":     {socket, []string{"exec", "web", "ls"}, exitOwn, "container bbbb is exited, not running"},
		"pull":            {socket, []string{"pull", "none"}, exitError, "none: not found in the registry"},
		"save to nothing": {socket, []string{"save", "-f", filepath.Join(t.TempDir(), "x"), "none"}, exitError, "no image none"},
		"rm of nothing":   {socket, []string{"rm"}, exitUsage, "--all"},
		"since":           {socket, []string{"logs", "--since", "x", "web"}, exitUsage, "RFC 3339"},
		"creds":           {socket, []string{"pull", "--creds", "me", "a"}, exitUsage, "USER:PASSWORD"},
		"inspect":         {socket, []string{"inspect", "nope"}, exitError, `no pod, container or image "nope"`},
		"unimplemented":   {socket, []string{"port-forward", "web", "80"}, exitError, "does not offer it"},
		"no pod":          {socket, []string{"rm", "nope"}, exitError, `no pod or container "nope"`},
		"no image":        {socket, []string{"rmi", "nope:1"}, exitError, `no image "nope:1"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := cli(t.Context(), strings.NewReader(""), tc.socket, tc.args...)
			if r.code != tc.code || !strings.Contains(r.err, tc.says) || !strings.HasPrefix(r.err, "slipway: ") {
				t.Errorf("code %d, want %d; %q, want %q", r.code, tc.code, r.err, tc.says)
			}
		})
	}
}

func TestExec(t *testing.T) {
	f := populated()
	got := make(chan string, 1)
	f.serve = func(ws *websocket.Conn) {
		in := ""
		for {
			_, m, err := ws.ReadMessage()
			if err != nil || m[0] == 255 {
				break
			}
			in += string(m[1:])
		}
		got <- in
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte("\x01out\n"))
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte("\x02err\n"))
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte("\x03"+`{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}`))
	}
	r := cli(t.Context(), strings.NewReader("input"), start(t, f), "exec", "-i", "web/web", "--", "sh", "-c", "exit 7", "-o", "x")
	if r != (result{7, "out\n", "err\n"}) {
		t.Errorf("%+v", r)
	}
	if in := <-got; in != "input" {
		t.Errorf("stdin %q", in)
	}
	if want := `Exec bbbb ["sh" "-c" "exit 7" "-o" "x"] tty=false stdin=true`; f.calls[0] != want {
		t.Errorf("%s, want %s", f.calls[0], want)
	}
}

func TestLogs(t *testing.T) {
	f := populated()
	f.logPath = filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(f.logPath, []byte("2026-11-24T11:00:00Z stdout F one\n2026-11-24T11:59:00Z stderr F two\n2026-11-24T11:59:30Z stdout P three"+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := start(t, f)
	if r := cli(t.Context(), nil, socket, "logs", "-f", "web/web"); r != (result{0, "one\nthree", "two\n"}) {
		t.Errorf("%+v", r)
	}
	if r := cli(t.Context(), nil, socket, "logs", "--since", "10m", "web/web"); r != (result{0, "three", "two\n"}) {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(f.logPath); err != nil {
		t.Fatal(err)
	}
	if r := cli(t.Context(), nil, socket, "logs", "web/web"); r.code != exitError || !strings.Contains(r.err, "not on this machine") {
		t.Errorf("%+v", r)
	}
}

func TestStopAndRemove(t *testing.T) {
	f := populated()
	f.runsOn = true
	f.pod = &runtimeapi.PodSandboxConfig{}
	socket := start(t, f)
	if r := cli(t.Context(), nil, socket, "rm", "side"); r.code != exitError || !strings.Contains(r.err, "stop it first") {
		t.Errorf("%+v", r)
	}
	if r := cli(t.Context(), nil, socket, "rm", "aaaa"); r.code != exitError || !strings.Contains(r.err, "is up") {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"stop", "-t", "1500ms", "side"}, {"stop", "default/web"}, {"rm", "-f", "job"}, {"rm", "side"}, {"rmi", "reg:5000/busybox:x"}} {
		if r := cli(t.Context(), nil, socket, args...); r.code != 0 || r.out != args[len(args)-1]+"\n" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	want := []string{
		"StopContainer bbbc 2", "StopContainer bbbb 10", "StopContainer bbbc 10", "StopPodSandbox",
		"StopPodSandbox", "RemovePodSandbox", "RemoveContainer", "RemoveImage reg:5000/busybox:x",
	}
	if len(f.calls) > 2 && f.calls[1] > f.calls[2] { // the two are stopped at the same time
		f.calls[1], f.calls[2] = f.calls[2], f.calls[1]
	}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}
}

func TestArchives(t *testing.T) {
	f := populated()
	socket := start(t, f)
	if r := cli(t.Context(), strings.NewReader("tar"), socket, "load"); r.code != 0 || !strings.Contains(r.out, "a:1") || f.loaded.String() != "tar" {
		t.Errorf("%+v %q", r, f.loaded.String())
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "x.tar")
	if r := cli(t.Context(), nil, socket, "save", "-f", file, "a", "b"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "archive of a b" {
		t.Errorf("%q %v", b, err)
	}
	// An archive cut short is no archive.
	if r := cli(t.Context(), nil, socket, "save", "-f", file, "none"); r.code != exitError {
		t.Errorf("%+v", r)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

func TestVersionAndConfig(t *testing.T) {
	r := cli(t.Context(), nil, start(t, populated()), "version", "-o", "json")
	var v map[string]string
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || v["agent"] != "1.2.3" || v["client"] == "" {
		t.Errorf("%+v %v", r, err)
	}
	if r := cli(t.Context(), nil, "/nowhere", "version", "--client"); r.code != 0 || !strings.HasPrefix(r.out, "client ") {
		t.Errorf("%+v", r)
	}
	r = cli(t.Context(), nil, "/nowhere", "config")
	if r.code != 0 || !strings.Contains(r.out, "[network]") {
		t.Errorf("%+v", r)
	}
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("[log]\nlevl = 'x'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := cli(t.Context(), nil, "/nowhere", "config", "--config", file); r.code != exitError || !strings.Contains(r.err, ":2:1: unknown key log.levl") {
		t.Errorf("%+v", r)
	}
}

// Every verb has help with an example, and completion scripts can be made.
func TestHelp(t *testing.T) {
	root := newRoot(&app{})
	verbs := 0
	for _, c := range root.Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		verbs++
		if c.Short == "" || !strings.Contains(c.Example, "slipway "+c.Name()) || c.GroupID == "" || c.Args == nil {
			t.Errorf("%s lacks a summary, an example, a group or a check of its arguments", c.Name())
		}
	}
	if verbs < 20 {
		t.Errorf("%d verbs", verbs)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := cli(t.Context(), nil, "/nowhere", "completion", shell); r.code != 0 || len(r.out) < 1000 {
			t.Errorf("%s: %d, %d bytes, %s", shell, r.code, len(r.out), r.err)
		}
	}
}

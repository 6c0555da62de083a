package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const logLine = "2026-11-24T11:00:00Z "

func runNode() *fakeNode {
	return &fakeNode{output: logLine + "stdout F hello\n" + logLine + "stderr P oops\n"}
}

func TestRunPrintsAndReturnsTheExitCode(t *testing.T) {
	f := runNode()
	f.exitCode = 3
	logs := t.TempDir()
	r := cli(t.Context(), nil, start(t, f), "run", "--rm", "-q", "--log-dir", logs, "busybox", "--", "echo", "-n")
	if r != (result{3, "hello\n", "oops"}) {
		t.Errorf("%+v", r)
	}
	want := []string{"RunPodSandbox", "CreateContainer sha256:cccc", "StartContainer", "StopPodSandbox", "RemovePodSandbox"}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}
	if f.pulled != "busybox" || !cmp.Equal(f.config.GetArgs(), []string{"echo", "-n"}) || len(f.config.GetCommand()) != 0 {
		t.Errorf("pulled %q, args %q", f.pulled, f.config.GetArgs())
	}
	if list, err := os.ReadDir(logs); err != nil || len(list) != 0 {
		t.Errorf("logs are left: %v %v", list, err)
	}
}

func TestRunKeepsThePodWithoutRm(t *testing.T) {
	f := runNode()
	f.images = []*runtimeapi.Image{{Id: imgID, RepoTags: []string{"busybox"}}}
	logs := t.TempDir()
	if r := cli(t.Context(), nil, start(t, f), "run", "--log-dir", logs, "busybox"); r.code != 0 || f.pulled != "" {
		t.Errorf("%+v, pulled %q", r, f.pulled)
	}
	if want := []string{"RunPodSandbox", "CreateContainer sha256:cccc", "StartContainer", "StopPodSandbox"}; !cmp.Equal(want, f.calls) {
		t.Errorf("%v", f.calls)
	}
	if _, err := os.Stat(f.logPath); err != nil {
		t.Error(err)
	}
}

// Whatever fails, the pod and its log directory are taken away again.
func TestRunFailureLeavesNothing(t *testing.T) {
	for _, verb := range []string{"RunPodSandbox", "CreateContainer", "StartContainer"} {
		f := runNode()
		f.fail = map[string]error{verb: status.Error(codes.Internal, verb+" broke")}
		logs := t.TempDir()
		r := cli(t.Context(), nil, start(t, f), "run", "-q", "--log-dir", logs, "busybox")
		if r.code != exitOwn || !strings.Contains(r.err, verb+" broke") {
			t.Errorf("%s: %+v", verb, r)
		}
		if last := f.calls[len(f.calls)-1]; verb != "RunPodSandbox" && last != "RemovePodSandbox" {
			t.Errorf("%s: %v", verb, f.calls)
		}
		if list, err := os.ReadDir(logs); err != nil || len(list) != 0 {
			t.Errorf("%s: logs are left: %v %v", verb, list, err)
		}
	}
}

func TestRunInterruptedStopsTheContainer(t *testing.T) {
	f := runNode()
	f.runsOn = true
	socket := start(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.started; cancel() }()
	r := cli(ctx, nil, socket, "run", "--rm", "-q", "--stop-time", "3s", "--log-dir", t.TempDir(), "busybox")
	if r.code != 143 || !strings.Contains(r.err, "stopping") {
		t.Errorf("%+v", r)
	}
	want := []string{"RunPodSandbox", "CreateContainer sha256:cccc", "StartContainer", "StopContainer bbbb 3", "StopPodSandbox", "RemovePodSandbox"}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}
}

func TestRunInteractiveAttachesFirst(t *testing.T) {
	f := runNode()
	f.exitCode = 5
	f.serve = func(ws *websocket.Conn) {
		_, m, err := ws.ReadMessage()
		if err != nil {
			return
		}
		<-f.started
		_ = ws.WriteMessage(websocket.BinaryMessage, append([]byte{1}, m[1:]...))
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte("\x03"+`{"status":"Success"}`))
	}
	r := cli(t.Context(), strings.NewReader("echoed"), start(t, f), "run", "--rm", "-i", "-q", "--log-dir", t.TempDir(), "busybox", "cat")
	if r != (result{5, "echoed", ""}) {
		t.Errorf("%+v", r)
	}
	want := []string{"RunPodSandbox", "CreateContainer sha256:cccc", "Attach stdin=true tty=false", "StartContainer", "StopPodSandbox", "RemovePodSandbox"}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}
	if !f.config.GetStdin() || !f.config.GetStdinOnce() {
		t.Error("the container has no stdin that ends")
	}
}

func TestRunDetached(t *testing.T) {
	f := runNode()
	f.runsOn = true
	r := cli(t.Context(), nil, start(t, f), "run", "-d", "-q", "--log-dir", t.TempDir(), "--name", "web", "busybox")
	if r != (result{0, ctrID + "\n", ""}) || f.calls[len(f.calls)-1] != "StartContainer" {
		t.Errorf("%+v %v", r, f.calls)
	}
	f.pods = []*runtimeapi.PodSandbox{{Id: podID, Metadata: f.pod.GetMetadata()}}
	if r := cli(t.Context(), nil, start(t, f), "run", "-d", "-q", "--log-dir", t.TempDir(), "--name", "web", "busybox"); r.code != exitOwn || !strings.Contains(r.err, "there is a pod web already") {
		t.Errorf("%+v", r)
	}
}

func TestRunFlags(t *testing.T) {
	t.Setenv("FROM_HERE", "yes")
	dir := t.TempDir()
	o := &runOptions{
		name: "web_1", pull: "missing", network: "pod", logDir: "/l", user: "7:8", memory: "64MiB", cpus: "1.5", tty: true,
		env: []string{"A=b=c", "FROM_HERE", "NOT_THERE"}, volumes: []string{dir + ":/data:ro,rslave"}, labels: []string{"k=v"},
		ports: []string{"8080:80", "127.0.0.1:53:53/udp", "[::1]:1:2"}, capAdd: []string{"NET_ADMIN"}, args: []string{"x"}, entrypoint: "/e",
	}
	pod, ctr, err := o.configs()
	if err != nil {
		t.Fatal(err)
	}
	want := []*runtimeapi.PortMapping{
		{HostPort: 8080, ContainerPort: 80}, {Protocol: runtimeapi.Protocol_UDP, HostIp: "127.0.0.1", HostPort: 53, ContainerPort: 53},
		{HostIp: "::1", HostPort: 1, ContainerPort: 2},
	}
	if d := cmp.Diff(want, pod.GetPortMappings(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if pod.GetHostname() != "web-1" || pod.GetLabels()["k"] != "v" || filepath.Dir(pod.GetLogDirectory()) != "/l" {
		t.Errorf("%v", pod)
	}
	envs := []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b=c")}, {Key: "FROM_HERE", Value: []byte("yes")}}
	mounts := []*runtimeapi.Mount{{HostPath: dir, ContainerPath: "/data", Readonly: true, Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER}}
	if d := cmp.Diff(envs, ctr.GetEnvs(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(mounts, ctr.GetMounts(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	r, s := ctr.GetLinux().GetResources(), ctr.GetLinux().GetSecurityContext()
	if r.GetMemoryLimitInBytes() != 64<<20 || r.GetCpuQuota() != 150000 || r.GetCpuShares() != 1536 {
		t.Errorf("%v", r)
	}
	if s.GetRunAsUser().GetValue() != 7 || s.GetRunAsGroup().GetValue() != 8 || len(s.GetMaskedPaths()) == 0 || s.GetSeccomp().GetProfileType() != 0 {
		t.Errorf("%v", s)
	}
	if d := cmp.Diff([]string{"/e", "x"}, append(ctr.GetCommand(), ctr.GetArgs()...), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestRunFlagsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-p", "80"}, {"-p", "0:80"}, {"-p", "70000:80"}, {"-p", "x:80"}, {"-p", "1:2/icmp"}, {"-p", "::1:1:2"}, {"-p", "0:0"},
		{"-v", "/a"}, {"-v", "/tmp:rel"}, {"-v", "/tmp:/a:frob"}, {"-m", "x"}, {"-m", "-1"}, {"-m", "9E"}, {"--cpus", "0"}, {"--pull", "x"},
		{"--network", "x"}, {"-d", "--rm"}, {"-l", "x"}, {"-u", "a:b"}, {"--log-dir", "rel"},
	} {
		r := cli(t.Context(), nil, start(t, runNode()), append(append([]string{"run"}, args...), "busybox")...)
		if r.code != exitUsage && r.code != exitOwn || !strings.Contains(r.err, "--") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := cli(t.Context(), nil, start(t, runNode()), "run", "-v", "/does/not/exist:/a", "busybox"); r.code != exitOwn || !strings.Contains(r.err, "/does/not/exist") {
		t.Errorf("%+v", r)
	}
}

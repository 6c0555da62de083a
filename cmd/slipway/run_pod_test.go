package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// webNode has a ready pod "web", made by run, with one container.
func webNode(t *testing.T) *fakeNode {
	f := runNode()
	dir := filepath.Join(t.TempDir(), "uid")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.pod = &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: runNamespace, Uid: "uid"}, LogDirectory: dir,
		Labels: map[string]string{runLabel: "true"}, Annotations: map[string]string{logDirAnnotation: dir},
	}
	f.pods = []*runtimeapi.PodSandbox{{Id: podID, Metadata: f.pod.GetMetadata()}}
	f.images = []*runtimeapi.Image{{Id: imgID, RepoTags: []string{"busybox"}}}
	f.containers = []*runtimeapi.Container{{Id: "bbcc" + ctrID[4:], PodSandboxId: podID, Metadata: &runtimeapi.ContainerMetadata{Name: "main"}}}
	return f
}

func TestRunInAPodThatIsThere(t *testing.T) {
	f := webNode(t)
	f.exitCode = 4
	r := cli(t.Context(), nil, start(t, f), "run", "--rm", "--pod", "web", "--name", "side", "busybox", "true")
	if r != (result{4, "hello\n", "oops"}) {
		t.Errorf("%+v", r)
	}
	want := []string{"CreateContainer sha256:cccc", "StartContainer", "RemoveContainer"}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}
	if f.config.GetMetadata().GetName() != "side" || f.config.GetLogPath() != "side.log" {
		t.Errorf("%v", f.config)
	}
	if _, err := os.Stat(f.logPath); !os.IsNotExist(err) {
		t.Errorf("the log is left: %v", err)
	}
	if _, err := os.Stat(f.pod.GetLogDirectory()); err != nil {
		t.Errorf("the pod's logs are gone: %v", err)
	}
}

func TestRunInAPodThatIsThereRefused(t *testing.T) {
	for says, args := range map[string][]string{
		`no pod "job"`:              {"--pod", "job"},
		"--publish belongs":         {"--pod", "web", "-p", "80:80"},
		"--network belongs":         {"--pod", "web", "--network", "host"},
		"has a container main":      {"--pod", "web", "--name", "main"},
		"no such file or directory": {"--pod", "web", "--name", "fails"},
	} {
		f := webNode(t)
		f.fail = map[string]error{"StartContainer": status.Error(codes.InvalidArgument, "exec /nope: no such file or directory")}
		r := cli(t.Context(), nil, start(t, f), append(append([]string{"run"}, args...), "busybox", "/nope")...)
		if r.code != exitUsage && r.code != exitOwn || !strings.Contains(r.err, says) {
			t.Errorf("%v: %+v", args, r)
		}
		if last := "StartContainer"; strings.Contains(says, "such file") && (len(f.calls) != 3 || f.calls[1] != last || f.calls[2] != "RemoveContainer") {
			t.Errorf("the container is left: %v", f.calls)
		}
	}
}

package convert

import (
	"testing"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

func TestStates(t *testing.T) {
	for s, want := range map[lifecycle.PodState]runtimeapi.PodSandboxState{
		lifecycle.PodCreating: runtimeapi.PodSandboxState_SANDBOX_NOTREADY,
		lifecycle.PodReady:    runtimeapi.PodSandboxState_SANDBOX_READY,
		lifecycle.PodStopping: runtimeapi.PodSandboxState_SANDBOX_NOTREADY,
		lifecycle.PodNotReady: runtimeapi.PodSandboxState_SANDBOX_NOTREADY,
		lifecycle.PodRemoving: runtimeapi.PodSandboxState_SANDBOX_NOTREADY,
	} {
		if got := PodState(s); got != want {
			t.Errorf("pod %s is %s, want %s", s, got, want)
		}
		if listed := PodListed(&pods.Pod{State: s}); listed != (s != lifecycle.PodCreating) {
			t.Errorf("pod %s listed: %v", s, listed)
		}
	}
	for s, want := range map[lifecycle.ContainerState]runtimeapi.ContainerState{
		lifecycle.ContainerCreating: runtimeapi.ContainerState_CONTAINER_CREATED,
		lifecycle.ContainerCreated:  runtimeapi.ContainerState_CONTAINER_CREATED,
		lifecycle.ContainerStarting: runtimeapi.ContainerState_CONTAINER_CREATED,
		lifecycle.ContainerRunning:  runtimeapi.ContainerState_CONTAINER_RUNNING,
		lifecycle.ContainerExited:   runtimeapi.ContainerState_CONTAINER_EXITED,
		lifecycle.ContainerRemoving: runtimeapi.ContainerState_CONTAINER_EXITED,
		"broken":                    runtimeapi.ContainerState_CONTAINER_UNKNOWN,
	} {
		if got := ContainerState(s); got != want {
			t.Errorf("container %s is %s, want %s", s, got, want)
		}
		if listed := ContainerListed(&containers.Container{State: s}); listed != (s != lifecycle.ContainerCreating) {
			t.Errorf("container %s listed: %v", s, listed)
		}
	}
}

func TestReason(t *testing.T) {
	for _, tc := range []struct {
		state  lifecycle.ContainerState
		code   int
		reason string
		want   string
	}{
		{lifecycle.ContainerExited, 0, "", "Completed"},
		{lifecycle.ContainerExited, 1, "", "Error"},
		{lifecycle.ContainerExited, 137, "OOMKilled", "OOMKilled"},
		{lifecycle.ContainerRunning, 0, "", ""},
		{lifecycle.ContainerCreated, 0, "StartError", "StartError"},
	} {
		c := &containers.Container{State: tc.state, ExitCode: tc.code, Reason: tc.reason}
		if got := ContainerStatus(c, nil).GetReason(); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func TestStopSignal(t *testing.T) {
	for s, want := range map[string]runtimeapi.Signal{
		"SIGTERM": runtimeapi.Signal_SIGNAL_SIGTERM, "term": runtimeapi.Signal_SIGNAL_SIGTERM, " 15 ": runtimeapi.Signal_SIGNAL_SIGTERM,
		"9": runtimeapi.Signal_SIGNAL_SIGKILL, "SIGRTMIN": runtimeapi.Signal_SIGNAL_SIGRTMIN, "34": runtimeapi.Signal_SIGNAL_SIGRTMIN,
		"SIGRTMIN+3": runtimeapi.Signal_SIGNAL_SIGRTMINPLUS3, "37": runtimeapi.Signal_SIGNAL_SIGRTMINPLUS3,
		"49": runtimeapi.Signal_SIGNAL_SIGRTMINPLUS15, "50": runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS14,
		"RTMAX-14": runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS14, "64": runtimeapi.Signal_SIGNAL_SIGRTMAX,
		"": 0, "0": 0, "32": 0, "65": 0, "-1": 0, "NONSENSE": 0, "RUNTIME_DEFAULT": 0,
	} {
		if got := StopSignal(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
	for n, name := range signalNumbers {
		if name != "" && StopSignal(name) == 0 {
			t.Errorf("signal %d: CRI has no %s", n, name)
		}
	}
}

// USER as images have it; what does not fit a uid must never come out as one.
func TestImageUser(t *testing.T) {
	for _, tc := range []struct {
		user string
		uid  int64 // -1: none
		name string
	}{
		{"", -1, ""}, {"0", 0, ""}, {"1000:100", 1000, ""}, {"www:www", -1, "www"}, {":100", -1, ""}, {"4294967295", 4294967295, ""},
		{"4294967296", -1, "4294967296"}, {"18446744073709551616", -1, "18446744073709551616"}, {"-1", -1, "-1"}, {"+0", -1, "+0"},
	} {
		uid, name := imageUser(tc.user)
		got := int64(-1)
		if uid != nil {
			got = uid.GetValue()
		}
		if got != tc.uid || name != tc.name {
			t.Errorf("%q: uid %d, name %q", tc.user, got, name)
		}
	}
}

func TestContainerImage(t *testing.T) {
	tags := []string{"docker.io/library/a:latest", "docker.io/library/b:2"}
	for _, tc := range []struct {
		image, wanted string
		tags, digests []string
		want          string
	}{
		{"busybox:1", "", tags, nil, "busybox:1"},
		{id(1), "", tags, nil, tags[0]},
		{id(1), "b:2", tags, nil, tags[1]},
		{id(1), "a", tags, nil, tags[0]},
		{id(1)[7:], "other", tags, nil, tags[0]},
		{id(1), "", nil, []string{"a@" + id(2)}, "a@" + id(2)},
		{id(1), "", nil, nil, id(1)},
	} {
		c := &containers.Container{ImageID: id(1), Config: &runtimeapi.ContainerConfig{
			Image: &runtimeapi.ImageSpec{Image: tc.image, UserSpecifiedImage: tc.wanted},
		}}
		before := proto.Clone(c.Config)
		got := Container(c, func(string) ([]string, []string) { return tc.tags, tc.digests }).GetImage()
		if got.GetImage() != tc.want || got.GetUserSpecifiedImage() != tc.wanted {
			t.Errorf("%+v: %v", tc, got)
		}
		if !proto.Equal(before, c.Config) {
			t.Errorf("%+v: the snapshot was modified", tc)
		}
	}
}

func TestImageFilter(t *testing.T) {
	i := &images.Image{RepoTags: []string{"docker.io/library/busybox:1"}, RepoDigests: []string{"docker.io/library/box@" + id(1)}}
	for ref, want := range map[string]bool{
		"busybox": true, "docker.io/library/busybox": true, "box": true,
		"busy": false, "busybox:1": false, "other/busybox": false, "!": false, "": false,
	} {
		if got := ImageFilter(ref)(i); got != want {
			t.Errorf("%q: %v", ref, got)
		}
	}
}

func TestAuth(t *testing.T) {
	if Auth(nil) != nil || Auth(&runtimeapi.AuthConfig{}) != nil {
		t.Error("no credentials are not nil")
	}
	got := Auth(&runtimeapi.AuthConfig{Username: "u", Password: "p", Auth: "a", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"})
	if want := (images.Auth{Username: "u", Password: "p", Auth: "a", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"}); *got != want {
		t.Errorf("%+v", got)
	}
}

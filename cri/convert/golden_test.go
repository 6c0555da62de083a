package convert

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/agent/stats"
	"github.com/slipway-cri/slipway/agent/steps"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a message, as JSON with CRI's field names, with testdata/name.json.
func golden(t *testing.T, name string, m proto.Message) {
	t.Helper()
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer // indented here: protojson's own spaces differ from build to build
	if err := json.Indent(&got, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func fullPod() *pods.Pod {
	return &pods.Pod{
		ID: "podid", RuntimeHandler: "slipway", State: lifecycle.PodReady, CreatedAt: at(100),
		Timeline: []steps.Took{{Name: "holder", Took: time.Millisecond}},
		NetNS:    "/run/slipway/pods/podid/ns/net", PID: 42, CgroupPath: "/kubepods/podu1",
		Network: &network.Result{
			IPs:       []netip.Prefix{netip.MustParsePrefix("10.88.0.5/16"), netip.MustParsePrefix("fd00::5/64")},
			HostIface: "veth0", Raw: []byte(`{"cniVersion":"1.0.0"}`),
		},
		Config: &runtimeapi.PodSandboxConfig{
			Metadata:    &runtimeapi.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default", Attempt: 2},
			Labels:      map[string]string{"app": "web"},
			Annotations: map[string]string{"note": "x"},
			Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
			}},
		},
	}
}

func fullContainer() *containers.Container {
	return &containers.Container{
		ID: "containerid", PodID: "podid", State: lifecycle.ContainerExited, ImageID: id(1),
		ImageRef: "docker.io/library/busybox@" + id(2), LogPath: "/var/log/pods/web/main/0.log",
		CgroupPath: "/kubepods/podu1/containerid", CreatedAt: at(101), StartedAt: at(102), FinishedAt: at(103),
		ExitCode: 137, Reason: "OOMKilled", Message: "out of memory", StopSignal: "SIGUSR1", Timeline: []steps.Took{{Name: "launch", Took: time.Millisecond}},
		User: &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: 1000, Gid: 1000, SupplementalGroups: []int64{10}}},
		Config: &runtimeapi.ContainerConfig{
			Metadata:    &runtimeapi.ContainerMetadata{Name: "main", Attempt: 3},
			Image:       &runtimeapi.ImageSpec{Image: id(1), UserSpecifiedImage: "busybox:1.36", Annotations: map[string]string{"k": "v"}},
			Labels:      map[string]string{"app": "web"},
			Annotations: map[string]string{"hash": "abc"},
			Mounts:      []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: "/srv/data", Readonly: true}},
			Linux:       &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 1 << 26}},
		},
	}
}

func id(n byte) string { return "sha256:" + string(bytes.Repeat([]byte{'0' + n}, 64)) }

func names(string) (tags, digests []string) {
	return []string{"docker.io/library/busybox:latest", "docker.io/library/busybox:1.36"}, nil
}

func fullUsage() *runtime.Usage {
	available, swap := uint64(700), uint64(800)
	line := func(n uint64) runtime.PSILine { return runtime.PSILine{Total: n, Avg10: 1.5, Avg60: 2.5, Avg300: 3.5} }
	pair := func(n uint64) runtime.PSIPair { return runtime.PSIPair{Full: line(n), Some: line(n + 1)} }
	return &runtime.Usage{
		At: at(200), CPUNanos: 100, MemoryBytes: 200, WorkingSetBytes: 300, RSSBytes: 400, PageFaults: 500, MajorPageFaults: 600,
		AvailableBytes: &available, SwapBytes: &swap, Pids: 9, PSI: &runtime.PSI{CPU: pair(10), Memory: pair(20), IO: pair(30)},
	}
}

func TestPodGolden(t *testing.T) {
	golden(t, "pod_status", PodSandboxStatus(fullPod()))
	golden(t, "pod", PodSandbox(fullPod()))
	host := fullPod()
	host.Network, host.State = nil, lifecycle.PodStopping
	host.Config = &runtimeapi.PodSandboxConfig{Metadata: host.Config.Metadata}
	golden(t, "pod_status_host", PodSandboxStatus(host))
}

func TestContainerGolden(t *testing.T) {
	golden(t, "container_status", ContainerStatus(fullContainer(), names))
	golden(t, "container", Container(fullContainer(), names))
	created := &containers.Container{
		ID: "c", PodID: "p", State: lifecycle.ContainerCreated, CreatedAt: at(1), ExitCode: 9,
		Config: &runtimeapi.ContainerConfig{Image: &runtimeapi.ImageSpec{Image: "busybox"}},
	}
	golden(t, "container_status_created", ContainerStatus(created, names))
}

func TestStatsGolden(t *testing.T) {
	c := stats.Container{
		Container: fullContainer(), Usage: fullUsage(), NanoCores: 77,
		WritableBytes: 10, WritableInodes: 11, WritableAt: at(201), WritableDir: "/var/lib/slipway",
	}
	golden(t, "container_stats", ContainerStats(&c))
	golden(t, "container_stats_ended", ContainerStats(&stats.Container{Container: fullContainer()}))
	bare := fullUsage()
	bare.AvailableBytes, bare.SwapBytes, bare.PSI = nil, nil, nil
	golden(t, "container_stats_v1", ContainerStats(&stats.Container{Container: fullContainer(), Usage: bare}))
	p := stats.Pod{
		Pod: fullPod(), Usage: fullUsage(), NanoCores: 78, Containers: []stats.Container{c},
		Interfaces: []stats.Interface{{Name: "eth0", RxBytes: 1, RxErrors: 2, TxBytes: 3, TxErrors: 4}, {Name: "net1", RxBytes: 5}},
	}
	golden(t, "pod_stats", PodSandboxStats(&p, at(202)))
}

func TestImageGolden(t *testing.T) {
	i := &images.Image{
		ID: id(1), RepoTags: []string{"docker.io/library/busybox:1.36"}, RepoDigests: []string{"docker.io/library/busybox@" + id(2)},
		Size: 12345, Pinned: true, Config: ocispec.Image{Config: ocispec.ImageConfig{User: "1000:1000"}},
	}
	golden(t, "image", Image(i))
	golden(t, "image_fs", ImageFsUsage(images.FSInfo{Mountpoint: "/var/lib/slipway/images", UsedBytes: 1, Inodes: 2, At: at(3)}))
}

func TestInfoGolden(t *testing.T) {
	for name, make := range map[string]func() (map[string]string, error){
		"pod_info": func() (map[string]string, error) { return PodInfo(fullPod()) },
		"container_info": func() (map[string]string, error) {
			return ContainerInfo(fullContainer(), &specs.Spec{Version: "1.3.0", Hostname: "h"})
		},
		"image_info": func() (map[string]string, error) { return ImageInfo(&images.Image{Config: ocispec.Image{Author: "a"}}) },
	} {
		info, err := make()
		if err != nil || !json.Valid([]byte(info["info"])) {
			t.Errorf("%s: %v, %v", name, info, err)
			continue
		}
		golden(t, name, &runtimeapi.StatusResponse{Info: info})
	}
}

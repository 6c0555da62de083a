package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// invoke makes one call by its method's name.
func (n *node) invoke(t testing.TB, req proto.Message) (proto.Message, error) {
	t.Helper()
	ctx := callContext(t)
	switch r := req.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		return n.runtime.RunPodSandbox(ctx, r)
	case *runtimeapi.StopPodSandboxRequest:
		return n.runtime.StopPodSandbox(ctx, r)
	case *runtimeapi.RemovePodSandboxRequest:
		return n.runtime.RemovePodSandbox(ctx, r)
	case *runtimeapi.PodSandboxStatusRequest:
		return n.runtime.PodSandboxStatus(ctx, r)
	case *runtimeapi.ListPodSandboxRequest:
		return n.runtime.ListPodSandbox(ctx, r)
	case *runtimeapi.CreateContainerRequest:
		return n.runtime.CreateContainer(ctx, r)
	case *runtimeapi.StartContainerRequest:
		return n.runtime.StartContainer(ctx, r)
	case *runtimeapi.StopContainerRequest:
		return n.runtime.StopContainer(ctx, r)
	case *runtimeapi.RemoveContainerRequest:
		return n.runtime.RemoveContainer(ctx, r)
	case *runtimeapi.ContainerStatusRequest:
		return n.runtime.ContainerStatus(ctx, r)
	case *runtimeapi.ListContainersRequest:
		return n.runtime.ListContainers(ctx, r)
	case *runtimeapi.UpdatePodSandboxResourcesRequest:
		return n.runtime.UpdatePodSandboxResources(ctx, r)
	case *runtimeapi.UpdateContainerResourcesRequest:
		return n.runtime.UpdateContainerResources(ctx, r)
	case *runtimeapi.ReopenContainerLogRequest:
		return n.runtime.ReopenContainerLog(ctx, r)
	case *runtimeapi.ExecSyncRequest:
		return n.runtime.ExecSync(ctx, r)
	case *runtimeapi.ExecRequest:
		return n.runtime.Exec(ctx, r)
	case *runtimeapi.AttachRequest:
		return n.runtime.Attach(ctx, r)
	case *runtimeapi.PortForwardRequest:
		return n.runtime.PortForward(ctx, r)
	}
	return n.invokeOther(ctx, t, req)
}

func (n *node) invokeOther(ctx context.Context, t testing.TB, req proto.Message) (proto.Message, error) {
	t.Helper()
	switch r := req.(type) {
	case *runtimeapi.ContainerStatsRequest:
		return n.runtime.ContainerStats(ctx, r)
	case *runtimeapi.ListContainerStatsRequest:
		return n.runtime.ListContainerStats(ctx, r)
	case *runtimeapi.PodSandboxStatsRequest:
		return n.runtime.PodSandboxStats(ctx, r)
	case *runtimeapi.ListPodSandboxStatsRequest:
		return n.runtime.ListPodSandboxStats(ctx, r)
	case *runtimeapi.VersionRequest:
		return n.runtime.Version(ctx, r)
	case *runtimeapi.StatusRequest:
		return n.runtime.Status(ctx, r)
	case *runtimeapi.RuntimeConfigRequest:
		return n.runtime.RuntimeConfig(ctx, r)
	case *runtimeapi.UpdateRuntimeConfigRequest:
		return n.runtime.UpdateRuntimeConfig(ctx, r)
	case *runtimeapi.ListImagesRequest:
		return n.image.ListImages(ctx, r)
	case *runtimeapi.ImageStatusRequest:
		return n.image.ImageStatus(ctx, r)
	case *runtimeapi.PullImageRequest:
		return n.image.PullImage(ctx, r)
	case *runtimeapi.RemoveImageRequest:
		return n.image.RemoveImage(ctx, r)
	case *runtimeapi.ImageFsInfoRequest:
		return n.image.ImageFsInfo(ctx, r)
	}
	t.Fatalf("no call for %T", req)
	return nil, nil
}

// compact is a message on one line, without prototext's deliberate instability of spaces.
func compact(m proto.Message) string {
	s := prototext.MarshalOptions{}.Format(m)
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), ": ", ":")
}

// Every call: what reaches the service, and what comes back. Ids are resolved from prefixes.
func TestCalls(t *testing.T) {
	n := start(t)
	spec := func(s string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: s} }
	for _, tc := range []struct {
		req          proto.Message
		called, want string
	}{
		{&runtimeapi.RunPodSandboxRequest{Config: podConfig(), RuntimeHandler: "slipway"},
			`pods.Run default/web "slipway"`, `pod_sandbox_id:"newpod"`},
		{&runtimeapi.StopPodSandboxRequest{PodSandboxId: "podr"}, "pods.Stop podready", ""},
		{&runtimeapi.StopPodSandboxRequest{PodSandboxId: "unknown"}, "pods.Stop unknown", ""},
		{&runtimeapi.RemovePodSandboxRequest{PodSandboxId: "podg"}, "pods.Remove podgone", ""},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "podr", Config: containerConfig(), SandboxConfig: podConfig()},
			"containers.Create podready main of ready", `container_id:"newcontainer"`},
		{&runtimeapi.StartContainerRequest{ContainerId: "run"}, "containers.Start run1", ""},
		{&runtimeapi.StopContainerRequest{ContainerId: "run", Timeout: 30}, "containers.Stop run1 30s", ""},
		{&runtimeapi.StopContainerRequest{ContainerId: "run", Timeout: 1 << 62}, "containers.Stop run1 2562047h47m16.854775807s", ""},
		{&runtimeapi.RemoveContainerRequest{ContainerId: "end1"}, "containers.Remove end1", ""},
		{&runtimeapi.UpdatePodSandboxResourcesRequest{
			PodSandboxId: "podr", Overhead: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 7}, Resources: &runtimeapi.LinuxContainerResources{CpuShares: 5},
		}, "pods.Update podready overhead=7 shares=5", ""},
		{&runtimeapi.UpdateContainerResourcesRequest{ContainerId: "run", Linux: &runtimeapi.LinuxContainerResources{CpuShares: 5}, Annotations: map[string]string{"a": "b"}},
			"containers.Update run1 shares=5 map[a:b]", ""},
		{&runtimeapi.ReopenContainerLogRequest{ContainerId: "run"}, "containers.ReopenLog run1", ""},
		{&runtimeapi.ExecSyncRequest{ContainerId: "run", Cmd: []string{"true"}, Timeout: 2},
			`containers.ExecSync run1 ["true"] 2s`, "exit_code:3"},
		{&runtimeapi.ExecRequest{ContainerId: "run", Cmd: []string{"sh"}, Tty: true, Stdin: true, Stdout: true},
			`streams.Exec run1 ["sh"] tty=true in=true out=true err=false`, `url:"http://exec"`},
		{&runtimeapi.AttachRequest{ContainerId: "run", Stdout: true, Stderr: true},
			"streams.Attach run1 tty=false in=false out=true err=true", `url:"http://attach"`},
		{&runtimeapi.PortForwardRequest{PodSandboxId: "podr", Port: []int32{80}}, "streams.PortForward podready [80]", `url:"http://forward"`},
		{&runtimeapi.ContainerStatsRequest{ContainerId: "run"}, "stats.Container run1",
			`stats:{attributes:{id:"run1" metadata:{name:"run1"} labels:{key:"app" value:"run1"}}}`},
		{&runtimeapi.ListContainerStatsRequest{}, "stats.Containers",
			`stats:{attributes:{id:"run1" metadata:{name:"run1"} labels:{key:"app" value:"run1"}}}`},
		{&runtimeapi.PodSandboxStatsRequest{PodSandboxId: "podr"}, "stats.Pod podready",
			`stats:{attributes:{id:"podready" metadata:{name:"ready" uid:"u-ready" namespace:"default"} labels:{key:"app" value:"ready"}} linux:{}}`},
		{&runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{LabelSelector: map[string]string{"app": "x"}}}, "stats.Pods", ""},
		{&runtimeapi.VersionRequest{}, "",
			`version:"0.1.0" runtime_name:"slipway" runtime_version:"0.1.0" runtime_api_version:"v1"`},
		{&runtimeapi.RuntimeConfigRequest{}, "", `linux:{cgroup_driver:CGROUPFS}`},
		{&runtimeapi.UpdateRuntimeConfigRequest{}, "", ""},
		{&runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.1.0.0/24,fd00::/64"}}},
			"node.SetPodCIDR [10.1.0.0/24 fd00::/64]", ""},
		{&runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: spec("nginx")}}, "",
			`images:{id:"sha256:second" repo_tags:"docker.io/library/nginx:1" size:9}`},
		{&runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: spec("sha256:second")}}, "",
			`images:{id:"sha256:second" repo_tags:"docker.io/library/nginx:1" size:9}`},
		{&runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: spec("none")}}, "", ""},
		{&runtimeapi.ImageStatusRequest{Image: spec("sha256:second")}, "",
			`image:{id:"sha256:second" repo_tags:"docker.io/library/nginx:1" size:9}`},
		{&runtimeapi.ImageStatusRequest{Image: spec("none")}, "", ""},
		{&runtimeapi.PullImageRequest{Image: spec("busybox"), Auth: &runtimeapi.AuthConfig{Username: "u", Password: "p"}},
			"images.Pull busybox auth=true", `image_ref:"` + imageID + `"`},
		{&runtimeapi.RemoveImageRequest{Image: spec("docker.io/library/nginx:1")}, "images.Remove sha256:second", ""},
		{&runtimeapi.RemoveImageRequest{Image: spec("none")}, "", ""},
		{&runtimeapi.ImageFsInfoRequest{}, "images.FSInfo",
			`image_filesystems:{timestamp:1000000000 fs_id:{mountpoint:"/images"} used_bytes:{value:4096} inodes_used:{value:7}}`},
	} {
		resp, err := n.invoke(t, tc.req)
		if err != nil {
			t.Errorf("%T: %v", tc.req, err)
			continue
		}
		if called := n.take(); called != tc.called {
			t.Errorf("%T called %q, want %q", tc.req, called, tc.called)
		}
		if got := compact(resp); got != tc.want {
			t.Errorf("%T answered\n%s\nwant\n%s", tc.req, got, tc.want)
		}
	}
	if log := n.log.take(); log != "" {
		t.Errorf("calls that succeed are logged at info level: %s", log)
	}
}

func TestLists(t *testing.T) {
	n := start(t)
	state := func(s runtimeapi.ContainerState) *runtimeapi.ContainerStateValue {
		return &runtimeapi.ContainerStateValue{State: s}
	}
	for _, tc := range []struct {
		filter *runtimeapi.ContainerFilter
		want   string
	}{
		{nil, "run1 end1"},
		{&runtimeapi.ContainerFilter{Id: "ru"}, "run1"},
		{&runtimeapi.ContainerFilter{PodSandboxId: "podr"}, "run1 end1"},
		{&runtimeapi.ContainerFilter{PodSandboxId: "other"}, ""},
		{&runtimeapi.ContainerFilter{State: state(runtimeapi.ContainerState_CONTAINER_EXITED)}, "end1"},
		{&runtimeapi.ContainerFilter{State: state(runtimeapi.ContainerState_CONTAINER_CREATED)}, ""},
		{&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"app": "end1"}}, "end1"},
		{&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"app": "end1", "b": ""}}, ""},
	} {
		resp, err := n.runtime.ListContainers(callContext(t), &runtimeapi.ListContainersRequest{Filter: tc.filter})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, c := range resp.GetContainers() {
			ids = append(ids, c.GetId())
			if c.GetImage().GetImage() != "docker.io/library/busybox:latest" {
				t.Errorf("image %v", c.GetImage())
			}
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.filter, got, tc.want)
		}
	}
	for _, tc := range []struct {
		filter *runtimeapi.PodSandboxFilter
		want   string
	}{
		{nil, "podready podgone"},
		{&runtimeapi.PodSandboxFilter{Id: "podg"}, "podgone"},
		{&runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{}}, "podready"},
		{&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "gone"}}, "podgone"},
	} {
		resp, err := n.runtime.ListPodSandbox(callContext(t), &runtimeapi.ListPodSandboxRequest{Filter: tc.filter})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range resp.GetItems() {
			ids = append(ids, p.GetId())
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.filter, got, tc.want)
		}
	}
}

func TestStatus(t *testing.T) {
	n := start(t)
	n.state.network = errors.New("no bridge")
	resp, err := n.runtime.Status(callContext(t), &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `status:{conditions:{type:"RuntimeReady" status:true} conditions:{type:"NetworkReady" reason:"NetworkNotReady" message:"no bridge"}} ` +
		`info:{key:"config" value:"{\"root\":\"/var/lib/slipway\"}"} runtime_handlers:{features:{}} runtime_handlers:{name:"slipway" features:{}} features:{}`
	if got := compact(resp); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if resp, err := n.runtime.Status(callContext(t), &runtimeapi.StatusRequest{}); err != nil || len(resp.GetInfo()) != 0 {
		t.Errorf("info without verbose: %v %v", resp.GetInfo(), err)
	}
}

func TestVerbose(t *testing.T) {
	n := start(t)
	ctx := callContext(t)
	p, err := n.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "podr", Verbose: true})
	if err != nil || !strings.Contains(p.GetInfo()["info"], `"name":"ready"`) {
		t.Errorf("pod info %v, %v", p.GetInfo(), err)
	}
	c, err := n.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: "run", Verbose: true})
	if info := c.GetInfo()["info"]; err != nil || !strings.Contains(info, `"sandboxID":"podready"`) || !strings.Contains(info, `"runtimeSpec":{"ociVersion":"1.3.0"`) {
		t.Errorf("container info %v, %v", c.GetInfo(), err)
	}
	i, err := n.image.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: imageID}, Verbose: true})
	if err != nil || !strings.Contains(i.GetInfo()["info"], `"imageSpec"`) {
		t.Errorf("image info %v, %v", i.GetInfo(), err)
	}
}

// What the server itself refuses, by state or by what the node has.
func TestRefusals(t *testing.T) {
	n := start(t)
	userns := podConfig()
	userns.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{
			Uids: []*runtimeapi.IDMapping{{HostId: 1 << 16, Length: 1 << 16}},
			Gids: []*runtimeapi.IDMapping{{HostId: 1 << 16, Length: 1 << 16}},
		}},
	}}
	for _, tc := range []struct {
		req  proto.Message
		code codes.Code
		text string
	}{
		{&runtimeapi.RunPodSandboxRequest{Config: podConfig(), RuntimeHandler: "kata"}, codes.InvalidArgument, "runtime_handler"},
		{&runtimeapi.RunPodSandboxRequest{Config: userns}, codes.Unimplemented, "userns_options"},
		{&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "a", RuntimeHandler: "kata"}}, codes.InvalidArgument, "image.runtime_handler"},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "podgone", Config: containerConfig()}, codes.FailedPrecondition, "podgone"},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "nopod", Config: containerConfig()}, codes.NotFound, "nopod"},
		{&runtimeapi.ExecSyncRequest{ContainerId: "end1", Cmd: []string{"x"}}, codes.FailedPrecondition, "not running"},
		{&runtimeapi.ExecRequest{ContainerId: "end1", Cmd: []string{"x"}, Stdout: true}, codes.FailedPrecondition, "not running"},
		{&runtimeapi.AttachRequest{ContainerId: "end1", Stdout: true}, codes.FailedPrecondition, "neither running"},
		{&runtimeapi.PortForwardRequest{PodSandboxId: "podgone"}, codes.FailedPrecondition, "not ready"},
		{&runtimeapi.ContainerStatusRequest{ContainerId: "none"}, codes.NotFound, "none"},
		{&runtimeapi.PodSandboxStatusRequest{PodSandboxId: "none"}, codes.NotFound, "none"},
		{&runtimeapi.ContainerStatsRequest{ContainerId: "none"}, codes.NotFound, "none"},
		{&runtimeapi.PodSandboxStatsRequest{PodSandboxId: "none"}, codes.NotFound, "none"},
		{&runtimeapi.RunPodSandboxRequest{}, codes.InvalidArgument, "config: missing"},
		{&runtimeapi.StopPodSandboxRequest{}, codes.InvalidArgument, "pod_sandbox_id"},
		{&runtimeapi.ImageStatusRequest{}, codes.InvalidArgument, "image"},
	} {
		_, err := n.invoke(t, tc.req)
		if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%T %s: %v, want %s with %q", tc.req, compact(tc.req), err, tc.code, tc.text)
		}
		if called := n.take(); called != "" {
			t.Errorf("%T reached %s", tc.req, called)
		}
	}
}

func TestNoStreams(t *testing.T) {
	n, o := services()
	o.Streams = nil
	n.serve(t, o)
	_, err := n.runtime.Attach(callContext(t), &runtimeapi.AttachRequest{ContainerId: "run1", Stdout: true})
	if status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}

// Calls that are not there yet say so.
func TestUnimplemented(t *testing.T) {
	n := start(t)
	ctx := callContext(t)
	_, err := n.runtime.CheckpointContainer(ctx, &runtimeapi.CheckpointContainerRequest{ContainerId: "run1", Location: "/c.tar"})
	if status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}

func TestExecSyncOutput(t *testing.T) {
	n := start(t)
	n.containers.out = bytes.Repeat([]byte("o"), 16<<20)
	n.containers.errOut = bytes.Repeat([]byte("e"), 16<<20)
	r, err := n.runtime.ExecSync(callContext(t), &runtimeapi.ExecSyncRequest{ContainerId: "run1", Cmd: []string{"yes"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Stdout)+len(r.Stderr) != maxOutput || len(r.Stderr) != maxOutput/2 {
		t.Errorf("stdout %d, stderr %d", len(r.Stdout), len(r.Stderr))
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct{ out, err, limit, wantOut, wantErr int }{
		{3, 3, 10, 3, 3}, {20, 3, 10, 7, 3}, {3, 20, 10, 3, 7}, {20, 20, 10, 5, 5}, {20, 0, 10, 10, 0}, {0, 20, 10, 0, 10},
	} {
		o, e := cut(make([]byte, tc.out), make([]byte, tc.err), tc.limit)
		if len(o) != tc.wantOut || len(e) != tc.wantErr {
			t.Errorf("%+v: %d and %d", tc, len(o), len(e))
		}
	}
}

// Each kind of error becomes its code, for a verb and for one that forgives.
func TestErrorKinds(t *testing.T) {
	n := start(t)
	for _, tc := range []struct {
		err  error
		code codes.Code
	}{
		{lifecycle.ErrNotFound, codes.NotFound},
		{lifecycle.ErrExists, codes.AlreadyExists},
		{lifecycle.ErrInvalid, codes.InvalidArgument},
		{lifecycle.ErrState, codes.FailedPrecondition},
		{lifecycle.ErrInProgress, codes.Aborted},
		{lifecycle.ErrUnsupported, codes.Unimplemented},
		{lifecycle.ErrExhausted, codes.ResourceExhausted},
		{lifecycle.ErrTimeout, codes.DeadlineExceeded},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{lifecycle.ErrUnavailable, codes.Unavailable},
		{errors.New("disk on fire"), codes.Internal},
		{status.Error(codes.PermissionDenied, "no"), codes.PermissionDenied},
	} {
		n.fail(fmt.Errorf("container run1: step: %w", tc.err))
		n.log.take()
		_, err := n.runtime.StartContainer(callContext(t), &runtimeapi.StartContainerRequest{ContainerId: "run1"})
		if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), "container run1: step") {
			t.Errorf("%v: got %v, want %s", tc.err, err, tc.code)
		}
		line := n.log.take()
		if strings.Count(line, "\n") != 1 || !strings.Contains(line, "method=StartContainer") ||
			!strings.Contains(line, "container=run1") || !strings.Contains(line, "duration=") || !strings.Contains(line, "code="+tc.code.String()) {
			t.Errorf("%v: logged %q", tc.err, line)
		}
		for _, req := range []proto.Message{
			&runtimeapi.StopContainerRequest{ContainerId: "run1"}, &runtimeapi.RemoveContainerRequest{ContainerId: "run1"},
			&runtimeapi.StopPodSandboxRequest{PodSandboxId: "podready"}, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: "podready"},
			&runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: imageID}},
		} {
			want := tc.code
			if want == codes.NotFound {
				want = codes.OK
			}
			if _, err := n.invoke(t, req); status.Code(err) != want {
				t.Errorf("%T with %v: %v, want %s", req, tc.err, err, want)
			}
		}
	}
}

func TestPanic(t *testing.T) {
	n := start(t)
	n.panics = true
	_, err := n.runtime.StartContainer(callContext(t), &runtimeapi.StartContainerRequest{ContainerId: "run1"})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "a bug") {
		t.Errorf("got %v", err)
	}
	if log := n.log.take(); !strings.Contains(log, "a bug") || !strings.Contains(log, "containers.go") {
		t.Errorf("no stack in %q", log)
	}
	n.panics = false
	if _, err := n.runtime.StartContainer(callContext(t), &runtimeapi.StartContainerRequest{ContainerId: "run1"}); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	n := start(t)
	n.fail(lifecycle.ErrUnavailable)
	n.server.Log.SetLevel(6) // trace
	create := containerConfig()
	create.Envs = []*runtimeapi.KeyValue{{Key: "K", Value: []byte("hunter2")}}
	for _, req := range []proto.Message{
		&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "x"}, Auth: &runtimeapi.AuthConfig{Password: "hunter2", Auth: "hunter2", IdentityToken: "hunter2", RegistryToken: "hunter2"}},
		&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "x"}, Auth: &runtimeapi.AuthConfig{Password: "hunter2\n"}},
		&runtimeapi.CreateContainerRequest{PodSandboxId: "podready", Config: create},
		&runtimeapi.ExecSyncRequest{ContainerId: "run1", Cmd: []string{"echo", "hunter2"}},
	} {
		if _, err := n.invoke(t, req); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%T: %v", req, err)
		}
	}
	if log := n.log.take(); strings.Contains(log, "hunter2") || !strings.Contains(log, "PullImage") {
		t.Error(log)
	}
}

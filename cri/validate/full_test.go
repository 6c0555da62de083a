package validate

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sorted makes the order of what came out of a map the same each time.
func sorted(all []spoil) []spoil {
	slices.SortStableFunc(all, func(a, b spoil) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.kind, b.kind))
	})
	return all
}

func fullImage(ref string) *runtimeapi.ImageSpec {
	return &runtimeapi.ImageSpec{
		Image: ref, Annotations: map[string]string{"a": "b"}, UserSpecifiedImage: "busybox:1", RuntimeHandler: "slipway", ImageRef: "sha256:0",
	}
}

func fullResources() *runtimeapi.LinuxContainerResources {
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 512, MemoryLimitInBytes: 1 << 26, OomScoreAdj: 500, CpusetCpus: "0-1", CpusetMems: "0",
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}}, Unified: map[string]string{"memory.high": "1000000"},
		MemorySwapLimitInBytes: 1 << 27,
	}
}

// fullPodResources: a pod's cgroup has no process, so it has no oom_score_adj.
func fullPodResources() *runtimeapi.LinuxContainerResources {
	r := fullResources()
	r.OomScoreAdj = 0
	return r
}

func fullOverhead() *runtimeapi.LinuxContainerResources {
	r := fullPodResources()
	r.CpusetCpus, r.CpusetMems, r.Unified = "", "", nil
	return r
}

func fullNamespaces(pod bool) *runtimeapi.NamespaceOption {
	ids := []*runtimeapi.IDMapping{{HostId: 65536, Length: 65536}}
	n := &runtimeapi.NamespaceOption{Network: 2, Ipc: 2, Pid: 1, UsernsOptions: &runtimeapi.UserNamespace{Uids: ids, Gids: ids}}
	if !pod {
		n.Pid, n.TargetId = runtimeapi.NamespaceMode_TARGET, "abc"
	}
	return n
}

func fullSELinux() *runtimeapi.SELinuxOption {
	return &runtimeapi.SELinuxOption{User: "u", Role: "r", Type: "t", Level: "s0:c1,c2"}
}

func fullPod() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default", Attempt: 1},
		Hostname: "web-0", LogDirectory: "/var/log/pods/x",
		DnsConfig:    &runtimeapi.DNSConfig{Servers: []string{"10.0.0.10"}, Searches: []string{"svc.local"}, Options: []string{"ndots:5"}},
		PortMappings: []*runtimeapi.PortMapping{{Protocol: 1, ContainerPort: 53, HostPort: 53, HostIp: "fd00::1"}},
		Labels:       map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/podu1", Sysctls: map[string]string{"kernel.sem": "1"}, Overhead: fullOverhead(), Resources: fullPodResources(),
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: fullNamespaces(true), SelinuxOptions: fullSELinux(),
				RunAsUser: &runtimeapi.Int64Value{Value: 1}, RunAsGroup: &runtimeapi.Int64Value{Value: 1}, ReadonlyRootfs: true,
				SupplementalGroups: []int64{7}, SupplementalGroupsPolicy: 1, Privileged: true,
				Seccomp:  &runtimeapi.SecurityProfile{ProfileType: 2, LocalhostRef: "/var/lib/kubelet/seccomp/x.json"},
				Apparmor: &runtimeapi.SecurityProfile{ProfileType: 2, LocalhostRef: "x"},
				//lint:ignore SA1019 the deprecated field is a field
				SeccompProfilePath: "localhost//var/lib/kubelet/seccomp/x.json",
			},
		},
	}
}

func fullContainer() *runtimeapi.ContainerConfig {
	ids := []*runtimeapi.IDMapping{{HostId: 65536, ContainerId: 1, Length: 10}}
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main", Attempt: 1}, Image: fullImage("busybox"),
		Command: []string{"/bin/sh"}, Args: []string{"-c"}, WorkingDir: "/w", Envs: []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b")}},
		Mounts: []*runtimeapi.Mount{
			{ContainerPath: "/a", HostPath: "/b", Readonly: true, SelinuxRelabel: true, RecursiveReadOnly: true, UidMappings: ids, GidMappings: ids, MountOptions: []string{"noexec"}},
			{ContainerPath: "/c", HostPath: "/d", Propagation: 2},
			{ContainerPath: "/e", Readonly: true, Image: fullImage("data"), ImageSubPath: "sub"},
		},
		Devices: []*runtimeapi.Device{{ContainerPath: "/dev/a", HostPath: "/dev/b", Permissions: "rw"}},
		Labels:  map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"}, LogPath: "main/0.log",
		Stdin: true, StdinOnce: true, Tty: true, StopSignal: 23,
		CDIDevices: []*runtimeapi.CDIDevice{{Name: "vendor.com/net=eth0"}},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: fullResources(),
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"KILL"}, DropCapabilities: []string{"CHOWN"}, AddAmbientCapabilities: []string{"KILL"}},
				Privileged:   true, NamespaceOptions: fullNamespaces(false), SelinuxOptions: fullSELinux(),
				RunAsUser: &runtimeapi.Int64Value{Value: 1}, RunAsGroup: &runtimeapi.Int64Value{Value: 1}, ReadonlyRootfs: true,
				SupplementalGroups: []int64{7}, SupplementalGroupsPolicy: 1, NoNewPrivs: true,
				MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
				Seccomp:  &runtimeapi.SecurityProfile{ProfileType: 2, LocalhostRef: "/x.json"},
				Apparmor: &runtimeapi.SecurityProfile{ProfileType: 2, LocalhostRef: "x"},
				//lint:ignore SA1019 the deprecated fields are fields
				SeccompProfilePath: "localhost//x.json", ApparmorProfile: "localhost/x",
			},
		},
	}
}

// fullRequests are requests in which, all together, every field is set but those of Windows.
func fullRequests() []proto.Message {
	byName := fullContainer()
	s := byName.Linux.SecurityContext
	s.RunAsUser, s.RunAsUsername = nil, "www"
	labels := map[string]string{"app": "web"}
	podStats := &runtimeapi.PodSandboxStatsFilter{Id: "a", LabelSelector: labels}
	containerStats := &runtimeapi.ContainerStatsFilter{Id: "a", PodSandboxId: "b", LabelSelector: labels}
	podFilter := &runtimeapi.PodSandboxFilter{Id: "a", State: &runtimeapi.PodSandboxStateValue{State: 1}, LabelSelector: labels}
	containerFilter := &runtimeapi.ContainerFilter{Id: "a", PodSandboxId: "b", State: &runtimeapi.ContainerStateValue{State: 1}, LabelSelector: labels}
	images := &runtimeapi.ImageFilter{Image: fullImage("busybox")}
	options := map[string]string{"k": "v"}
	return []proto.Message{
		&runtimeapi.VersionRequest{Version: "0.1.0"},
		&runtimeapi.RunPodSandboxRequest{Config: fullPod(), RuntimeHandler: "slipway"},
		&runtimeapi.StopPodSandboxRequest{PodSandboxId: "a"}, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: "a"},
		&runtimeapi.PodSandboxStatusRequest{PodSandboxId: "a", Verbose: true},
		&runtimeapi.ListPodSandboxRequest{Filter: podFilter}, &runtimeapi.StreamPodSandboxesRequest{Filter: podFilter},
		&runtimeapi.CreateContainerRequest{PodSandboxId: "a", Config: fullContainer(), SandboxConfig: fullPod()},
		&runtimeapi.CreateContainerRequest{PodSandboxId: "a", Config: byName},
		&runtimeapi.StartContainerRequest{ContainerId: "a"}, &runtimeapi.StopContainerRequest{ContainerId: "a", Timeout: 3},
		&runtimeapi.RemoveContainerRequest{ContainerId: "a"}, &runtimeapi.ContainerStatusRequest{ContainerId: "a", Verbose: true},
		&runtimeapi.ListContainersRequest{Filter: containerFilter}, &runtimeapi.StreamContainersRequest{Filter: containerFilter},
		&runtimeapi.UpdateContainerResourcesRequest{ContainerId: "a", Linux: fullResources(), Annotations: labels},
		&runtimeapi.ReopenContainerLogRequest{ContainerId: "a"},
		&runtimeapi.ExecSyncRequest{ContainerId: "a", Cmd: []string{"ls"}, Timeout: 1},
		&runtimeapi.ExecRequest{ContainerId: "a", Cmd: []string{"ls"}, Stdin: true, Stdout: true, Stderr: true},
		&runtimeapi.ExecRequest{ContainerId: "a", Cmd: []string{"ls"}, Tty: true, Stdout: true},
		&runtimeapi.AttachRequest{ContainerId: "a", Stdin: true, Stdout: true, Stderr: true},
		&runtimeapi.AttachRequest{ContainerId: "a", Tty: true, Stdout: true},
		&runtimeapi.PortForwardRequest{PodSandboxId: "a", Port: []int32{80}},
		&runtimeapi.ContainerStatsRequest{ContainerId: "a"}, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: "a"},
		&runtimeapi.ListContainerStatsRequest{Filter: containerStats}, &runtimeapi.StreamContainerStatsRequest{Filter: containerStats},
		&runtimeapi.ListPodSandboxStatsRequest{Filter: podStats}, &runtimeapi.StreamPodSandboxStatsRequest{Filter: podStats},
		&runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.1.0.0/16"}}},
		&runtimeapi.StatusRequest{Verbose: true}, &runtimeapi.RuntimeConfigRequest{}, &runtimeapi.GetEventsRequest{},
		&runtimeapi.ListMetricDescriptorsRequest{}, &runtimeapi.ListPodSandboxMetricsRequest{}, &runtimeapi.StreamPodSandboxMetricsRequest{},
		&runtimeapi.CheckpointContainerRequest{ContainerId: "a", Location: "/c.tar", Timeout: 1},
		&runtimeapi.CheckpointPodRequest{PodSandboxId: "a", OutputPath: "/c.tar", ContainerIds: []string{"b"}, Options: options},
		&runtimeapi.RestorePodRequest{
			CheckpointPath: "/c.tar", Config: fullPod(), RuntimeHandler: "slipway", Options: options, ContainerConfigs: []*runtimeapi.ContainerConfig{fullContainer()},
		},
		&runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: "a", Overhead: fullOverhead(), Resources: fullPodResources()},
		&runtimeapi.ListImagesRequest{Filter: images}, &runtimeapi.StreamImagesRequest{Filter: images},
		&runtimeapi.ImageStatusRequest{Image: fullImage("busybox"), Verbose: true}, &runtimeapi.RemoveImageRequest{Image: fullImage("busybox")},
		&runtimeapi.PullImageRequest{Image: fullImage("busybox"), SandboxConfig: fullPod(), Auth: &runtimeapi.AuthConfig{
			Username: "u", Password: "p", Auth: "a", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r",
		}},
		&runtimeapi.ImageFsInfoRequest{},
	}
}

// The requests above are whole: of every call, and with every field of every message in them.
func TestFullRequestsAreFull(t *testing.T) {
	set, want := map[protoreflect.FullName]bool{}, map[protoreflect.FullName]bool{}
	for _, req := range fullRequests() {
		m := req.ProtoReflect()
		set[m.Descriptor().FullName()] = true
		fieldsSet(m, set)
	}
	services := runtimeapi.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			fieldsOf(methods.Get(j).Input(), want)
		}
	}
	for name := range want {
		if !set[name] {
			t.Errorf("%s is in no request", name)
		}
	}
}

func fieldsSet(m protoreflect.Message, set map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[f.FullName()] = true
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				fieldsSet(v.List().Get(i).Message(), set)
			}
		default:
			fieldsSet(v.Message(), set)
		}
		return true
	})
}

func fieldsOf(d protoreflect.MessageDescriptor, want map[protoreflect.FullName]bool) {
	if want[d.FullName()] || strings.Contains(string(d.Name()), "Windows") {
		return
	}
	if strings.HasSuffix(string(d.Name()), "Request") {
		want[d.FullName()] = true
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if want[f.FullName()] || f.Name() == "windows" {
			continue
		}
		if f.FullName() != "runtime.v1.UserNamespace.mode" { // POD, the only one that has mappings, is 0
			want[f.FullName()] = true
		}
		if f.Kind() == protoreflect.MessageKind && !f.IsMap() {
			fieldsOf(f.Message(), want)
		}
	}
}

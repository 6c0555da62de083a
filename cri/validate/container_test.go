package validate

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func container() *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: "busybox"},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       &runtimeapi.LinuxContainerResources{},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}},
		},
	}
}

func checkContainer(t *testing.T, what string, c *runtimeapi.ContainerConfig, field string) {
	t.Helper()
	if field != "" {
		field = "config." + field
	}
	check(t, what, &runtimeapi.CreateContainerRequest{PodSandboxId: "p", Config: c}, field)
}

func TestContainer(t *testing.T) {
	type cfg = runtimeapi.ContainerConfig
	for _, tc := range []struct {
		what  string
		edit  func(c *cfg)
		field string
	}{
		{"plain", func(*cfg) {}, ""},
		{"no linux part", func(c *cfg) { c.Linux = nil }, ""},
		{"no metadata", func(c *cfg) { c.Metadata = nil }, "metadata"},
		{"no name", func(c *cfg) { c.Metadata.Name = "" }, "metadata.name"},
		{"no image", func(c *cfg) { c.Image = nil }, "image"},
		{"empty image", func(c *cfg) { c.Image.Image = "" }, "image.image"},
		{"NUL in the command", func(c *cfg) { c.Command = []string{"a", "\x00"} }, "command[1]"},
		{"NUL in an argument", func(c *cfg) { c.Args = []string{"\x00"} }, "args[0]"},
		{"empty argument", func(c *cfg) { c.Args = []string{""} }, ""},
		{"relative working directory", func(c *cfg) { c.WorkingDir = "src" }, "working_dir"},
		{"variable without a name", func(c *cfg) { c.Envs = []*runtimeapi.KeyValue{{}} }, "envs[0].key"},
		{"variable named a=b", func(c *cfg) { c.Envs = []*runtimeapi.KeyValue{{Key: "a=b"}} }, "envs[0].key"},
		{"NUL in a variable", func(c *cfg) { c.Envs = []*runtimeapi.KeyValue{{Key: "a", Value: []byte("x\x00")}} }, "envs[0].value"},
		{"variable of lines and bytes", func(c *cfg) { c.Envs = []*runtimeapi.KeyValue{{Key: "a", Value: []byte("x\n\xff")}} }, ""},
		{"absolute log path", func(c *cfg) { c.LogPath = "/etc/passwd" }, "log_path"},
		{"log path going up", func(c *cfg) { c.LogPath = "main/../../x.log" }, "log_path"},
		{"log path with newline", func(c *cfg) { c.LogPath = "a\nb" }, "log_path"},
		{"log path", func(c *cfg) { c.LogPath = "main/0..1.log" }, ""},
		{"unknown signal", func(c *cfg) { c.StopSignal = 66 }, "stop_signal"},
		{"device", func(c *cfg) {
			c.Devices = []*runtimeapi.Device{{ContainerPath: "/dev/a", HostPath: "/dev/b", Permissions: "mrw"}}
		}, ""},
		{"nil device", func(c *cfg) { c.Devices = []*runtimeapi.Device{nil} }, "devices[0]"},
		{"relative device", func(c *cfg) {
			c.Devices = []*runtimeapi.Device{{ContainerPath: "a", HostPath: "/dev/b", Permissions: "r"}}
		}, "devices[0].container_path"},
		{"device without host path", func(c *cfg) { c.Devices = []*runtimeapi.Device{{ContainerPath: "/a", Permissions: "r"}} }, "devices[0].host_path"},
		{"device permissions", func(c *cfg) {
			c.Devices = []*runtimeapi.Device{{ContainerPath: "/a", HostPath: "/b", Permissions: "rx"}}
		}, "devices[0].permissions"},
		{"CDI device without a name", func(c *cfg) { c.CDIDevices = []*runtimeapi.CDIDevice{{}} }, "CDI_devices[0].name"},
		{"label", func(c *cfg) { c.Labels = map[string]string{"a\x01": ""} }, "labels"},
	} {
		c := container()
		tc.edit(c)
		checkContainer(t, tc.what, c, tc.field)
	}
	check(t, "no pod", &runtimeapi.CreateContainerRequest{Config: container()}, "pod_sandbox_id")
	check(t, "nil config", &runtimeapi.CreateContainerRequest{PodSandboxId: "p"}, "config")
	bad := pod()
	bad.Hostname = "a b"
	check(t, "bad pod", &runtimeapi.CreateContainerRequest{PodSandboxId: "p", Config: container(), SandboxConfig: bad}, "sandbox_config.hostname")
}

func TestMounts(t *testing.T) {
	image := &runtimeapi.ImageSpec{Image: "data"}
	for _, tc := range []struct {
		m     *runtimeapi.Mount
		field string
	}{
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"noexec"}}, ""},
		{&runtimeapi.Mount{ContainerPath: "/a", Image: image, ImageSubPath: "x/y", Readonly: true}, ""},
		{&runtimeapi.Mount{ContainerPath: "/a", Image: image}, ".readonly"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Readonly: true, RecursiveReadOnly: true}, ""},
		{nil, ""},
		{&runtimeapi.Mount{HostPath: "/b"}, ".container_path"},
		{&runtimeapi.Mount{ContainerPath: "a", HostPath: "/b"}, ".container_path"},
		{&runtimeapi.Mount{ContainerPath: "/a\x00", HostPath: "/b"}, ".container_path"},
		{&runtimeapi.Mount{ContainerPath: "/" + strings.Repeat("a", 4095), HostPath: "/b"}, ".container_path"},
		{&runtimeapi.Mount{ContainerPath: "/a"}, ".host_path"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "b"}, ".host_path"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Image: image}, ".host_path"},
		{&runtimeapi.Mount{ContainerPath: "/a", Image: &runtimeapi.ImageSpec{}}, ".image.image"},
		{&runtimeapi.Mount{ContainerPath: "/a", Image: image, ImageSubPath: "../x"}, ".image_sub_path"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", ImageSubPath: "x"}, ".image_sub_path"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Propagation: 3}, ".propagation"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", RecursiveReadOnly: true}, ".recursive_read_only"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Readonly: true, RecursiveReadOnly: true, Propagation: 2}, ".recursive_read_only"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"noexec,suid"}}, ".mount_options[0]"},
		{&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", UidMappings: []*runtimeapi.IDMapping{{}}}, ".uidMappings[0].length"},
	} {
		c := container()
		c.Mounts = []*runtimeapi.Mount{tc.m}
		field := tc.field
		if field != "" || tc.m == nil {
			field = "mounts[0]" + field
		}
		checkContainer(t, tc.m.String(), c, field)
	}
}

func TestResources(t *testing.T) {
	type res = runtimeapi.LinuxContainerResources
	for _, tc := range []struct {
		r     *res
		field string
	}{
		{&res{CpuPeriod: 100000, CpuQuota: -1, CpuShares: 2, MemoryLimitInBytes: 1 << 20, MemorySwapLimitInBytes: 1 << 20, OomScoreAdj: -998}, ""},
		{&res{CpuPeriod: -1}, "cpu_period"},
		{&res{CpuQuota: -2}, "cpu_quota"},
		{&res{CpuShares: -1}, "cpu_shares"},
		{&res{MemoryLimitInBytes: -2}, "memory_limit_in_bytes"},
		{&res{MemorySwapLimitInBytes: -2}, "memory_swap_limit_in_bytes"},
		{&res{MemoryLimitInBytes: 2, MemorySwapLimitInBytes: 1}, "memory_swap_limit_in_bytes"},
		{&res{OomScoreAdj: -1001}, "oom_score_adj"},
		{&res{OomScoreAdj: 1001}, "oom_score_adj"},
		{&res{CpusetCpus: "0-3,7,9-9", CpusetMems: "0"}, ""},
		{&res{CpusetCpus: "3-0"}, "cpuset_cpus"},
		{&res{CpusetCpus: "0,"}, "cpuset_cpus"},
		{&res{CpusetCpus: "all"}, "cpuset_cpus"},
		{&res{CpusetMems: "0\n1"}, "cpuset_mems"},
		{&res{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB"}, {PageSize: "1GB"}}}, ""},
		{&res{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2"}}}, "hugepage_limits[0].page_size"},
		{&res{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "MB"}}}, "hugepage_limits[0].page_size"},
		{&res{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "../2MB"}}}, "hugepage_limits[0].page_size"},
		{&res{Unified: map[string]string{"memory.high": "1", "io.weight": "default 100", "hugetlb.2MB.max": "1"}}, ""},
		{&res{Unified: map[string]string{"../memory.high": "1"}}, `unified["../memory.high"]`},
		{&res{Unified: map[string]string{"cgroup.procs": "1"}}, `unified["cgroup.procs"]`},
		{&res{Unified: map[string]string{"memory": "1"}}, `unified["memory"]`},
		{&res{Unified: map[string]string{"memory.high": "1\n2"}}, `unified["memory.high"]`},
	} {
		c := container()
		c.Linux.Resources = tc.r
		field := tc.field
		if field != "" {
			field = "linux.resources." + field
		}
		checkContainer(t, tc.r.String(), c, field)
	}
}

func TestSecurity(t *testing.T) {
	type sec = runtimeapi.LinuxContainerSecurityContext
	id := func(v int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: v} }
	profile := func(p runtimeapi.SecurityProfile_ProfileType, ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: p, LocalhostRef: ref}
	}
	for _, tc := range []struct {
		s     *sec
		field string
	}{
		{&sec{RunAsUser: id(1000), RunAsGroup: id(0), SupplementalGroups: []int64{1, 2}, MaskedPaths: []string{"/proc/kcore"}}, ""},
		{&sec{RunAsUsername: "nobody", RunAsGroup: id(1)}, ""},
		{&sec{RunAsUser: id(-1)}, "run_as_user"},
		{&sec{RunAsUser: id(1 << 32)}, "run_as_user"},
		{&sec{RunAsUser: id(1<<32 - 1)}, "run_as_user"},
		{&sec{RunAsUser: id(1), RunAsUsername: "x"}, "run_as_username"},
		{&sec{RunAsUsername: "x\n"}, "run_as_username"},
		{&sec{RunAsGroup: id(1)}, "run_as_group"},
		{&sec{SupplementalGroups: []int64{0, -1}}, "supplemental_groups[1]"},
		{&sec{SupplementalGroups: make([]int64, 65537)}, "supplemental_groups"},
		{&sec{SupplementalGroupsPolicy: 2}, "supplemental_groups_policy"},
		{&sec{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"ALL", "NET_ADMIN"}, DropCapabilities: []string{"cap_chown"}}}, ""},
		{&sec{Capabilities: &runtimeapi.Capability{AddAmbientCapabilities: []string{"a b"}}}, "capabilities.add_ambient_capabilities[0]"},
		{&sec{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: 3, TargetId: "abc"}}, ""},
		{&sec{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: 3}}, "namespace_options.target_id"},
		{&sec{NamespaceOptions: &runtimeapi.NamespaceOption{Network: 3}}, "namespace_options.network"},
		{&sec{NamespaceOptions: &runtimeapi.NamespaceOption{Network: -1}}, "namespace_options.network"},
		{&sec{MaskedPaths: []string{"proc"}}, "masked_paths[0]"},
		{&sec{ReadonlyPaths: []string{""}}, "readonly_paths[0]"},
		{&sec{Seccomp: profile(runtimeapi.SecurityProfile_Localhost, "/p.json"), Apparmor: profile(runtimeapi.SecurityProfile_Localhost, "name")}, ""},
		{&sec{Seccomp: profile(runtimeapi.SecurityProfile_Localhost, "p.json")}, "seccomp.localhost_ref"},
		{&sec{Apparmor: profile(runtimeapi.SecurityProfile_Localhost, "")}, "apparmor.localhost_ref"},
		{&sec{SelinuxOptions: &runtimeapi.SELinuxOption{Level: "s0\n"}}, "selinux_options.level"},
	} {
		c := container()
		c.Linux.SecurityContext = tc.s
		field := tc.field
		if field != "" {
			field = "linux.security_context." + field
		}
		what := tc.s.String()
		checkContainer(t, what[:min(len(what), 120)], c, field)
	}
}

package validate

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// check runs one request and compares the faulty field; "" wants the request accepted.
func check(t *testing.T, what string, req any, field string) {
	t.Helper()
	err := Request(req)
	if field == "" {
		if err != nil {
			t.Errorf("%s: refused: %v", what, err)
		}
		return
	}
	var fault *Error
	if !errors.As(err, &fault) || !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("%s: got %v, want a fault of %s", what, err, field)
		return
	}
	if fault.Field != field {
		t.Errorf("%s: fault of %s (%s), want %s", what, fault.Field, fault.Reason, field)
	}
}

func pod() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}},
		},
		DnsConfig: &runtimeapi.DNSConfig{},
	}
}

func TestPod(t *testing.T) {
	type cfg = runtimeapi.PodSandboxConfig
	for _, tc := range []struct {
		what  string
		edit  func(c *cfg)
		field string
	}{
		{"plain", func(*cfg) {}, ""},
		{"no metadata", func(c *cfg) { c.Metadata = nil }, "config.metadata"},
		{"no name", func(c *cfg) { c.Metadata.Name = "" }, "config.metadata.name"},
		{"no uid", func(c *cfg) { c.Metadata.Uid = "" }, "config.metadata.uid"},
		{"no namespace", func(c *cfg) { c.Metadata.Namespace = "" }, "config.metadata.namespace"},
		{"name with slash", func(c *cfg) { c.Metadata.Name = "a/b" }, "config.metadata.name"},
		{"name of dots", func(c *cfg) { c.Metadata.Name = ".." }, "config.metadata.name"},
		{"name with NUL", func(c *cfg) { c.Metadata.Name = "a\x00" }, "config.metadata.name"},
		{"name with newline", func(c *cfg) { c.Metadata.Name = "a\nb" }, "config.metadata.name"},
		{"longest name", func(c *cfg) { c.Metadata.Name = strings.Repeat("a", 253) }, ""},
		{"long name", func(c *cfg) { c.Metadata.Name = strings.Repeat("a", 254) }, "config.metadata.name"},
		{"uid up a directory", func(c *cfg) { c.Metadata.Uid = "../x" }, "config.metadata.uid"},
		{"hostname", func(c *cfg) { c.Hostname = "web-0" }, ""},
		{"long hostname", func(c *cfg) { c.Hostname = strings.Repeat("h", 65) }, "config.hostname"},
		{"hostname with newline", func(c *cfg) { c.Hostname = "a\n1.2.3.4 evil" }, "config.hostname"},
		{"hostname with space", func(c *cfg) { c.Hostname = "a b" }, "config.hostname"},
		{"relative log directory", func(c *cfg) { c.LogDirectory = "logs" }, "config.log_directory"},
		{"log directory going up", func(c *cfg) { c.LogDirectory = "/var/log/../../etc" }, "config.log_directory"},
		{"log directory", func(c *cfg) { c.LogDirectory = "/var/log/pods/default_web..1_u1" }, ""},
		{"DNS", func(c *cfg) {
			c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"10.0.0.10", "fd00::a"}, Searches: []string{"svc.local", "."}, Options: []string{"ndots:5"}}
		}, ""},
		{"DNS server's name", func(c *cfg) { c.DnsConfig.Servers = []string{"1.1.1.1", "dns.example"} }, "config.dns_config.servers[1]"},
		{"DNS search of two lines", func(c *cfg) { c.DnsConfig.Searches = []string{"a\nnameserver 6.6.6.6"} }, "config.dns_config.searches[0]"},
		{"DNS search of two words", func(c *cfg) { c.DnsConfig.Searches = []string{"a b"} }, "config.dns_config.searches[0]"},
		{"DNS option empty", func(c *cfg) { c.DnsConfig.Options = []string{""} }, "config.dns_config.options[0]"},
		{"no label key", func(c *cfg) { c.Labels = map[string]string{"": "x"} }, "config.labels"},
		{"label key with newline", func(c *cfg) { c.Labels = map[string]string{"a\nb": "x"} }, "config.labels"},
		{"long label value", func(c *cfg) { c.Labels = map[string]string{"a": strings.Repeat("x", 4097)} }, `config.labels["a"]`},
		{"annotation with newlines", func(c *cfg) { c.Annotations = map[string]string{"a": "{\n}\n"} }, ""},
		{"annotation with NUL", func(c *cfg) { c.Annotations = map[string]string{"a": "\x00"} }, `config.annotations["a"]`},
		{"annotations too large", func(c *cfg) { c.Annotations = map[string]string{"a": strings.Repeat("x", 1<<20)} }, "config.annotations"},
		{"cgroup parent", func(c *cfg) { c.Linux.CgroupParent = "/kubepods/burstable/podu1" }, ""},
		{"systemd slice", func(c *cfg) { c.Linux.CgroupParent = "kubepods-podu1.slice" }, ""},
		{"cgroup parent going up", func(c *cfg) { c.Linux.CgroupParent = "/a/../.." }, "config.linux.cgroup_parent"},
		{"sysctl", func(c *cfg) { c.Linux.Sysctls = map[string]string{"net.ipv4.ip_local_port_range": "1024\t65000"} }, ""},
		{"sysctl going up", func(c *cfg) { c.Linux.Sysctls = map[string]string{"net/../kernel": "1"} }, `config.linux.sysctls["net/../kernel"]`},
		{"sysctl with plus", func(c *cfg) { c.Linux.Sysctls = map[string]string{"a+b": "1"} }, `config.linux.sysctls["a+b"]`},
		{"sysctl of two lines", func(c *cfg) { c.Linux.Sysctls = map[string]string{"a.b": "1\n2"} }, `config.linux.sysctls["a.b"]`},
		{"overhead", func(c *cfg) { c.Linux.Overhead = &runtimeapi.LinuxContainerResources{CpuShares: -1} }, "config.linux.overhead.cpu_shares"},
		{"unknown mode", func(c *cfg) { c.Linux.SecurityContext.NamespaceOptions.Ipc = 9 }, "config.linux.security_context.namespace_options.ipc"},
		{"pod with TARGET", func(c *cfg) { c.Linux.SecurityContext.NamespaceOptions.Pid = 3 }, "config.linux.security_context.namespace_options.pid"},
		{"group without user", func(c *cfg) { c.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 1} }, "config.linux.security_context.run_as_group"},
		{"unknown profile", func(c *cfg) { c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: 5} }, "config.linux.security_context.seccomp.profile_type"},
	} {
		c := pod()
		tc.edit(c)
		check(t, tc.what, &runtimeapi.RunPodSandboxRequest{Config: c}, tc.field)
	}
	check(t, "nil config", &runtimeapi.RunPodSandboxRequest{}, "config")
	check(t, "handler with newline", &runtimeapi.RunPodSandboxRequest{Config: pod(), RuntimeHandler: "a\nb"}, "runtime_handler")
}

func TestPorts(t *testing.T) {
	for _, tc := range []struct {
		port  *runtimeapi.PortMapping
		field string
	}{
		{&runtimeapi.PortMapping{ContainerPort: 80, HostPort: 8080, HostIp: "127.0.0.1"}, ""},
		{&runtimeapi.PortMapping{ContainerPort: 80}, ""},
		{&runtimeapi.PortMapping{}, ""},
		{nil, ""},
		{&runtimeapi.PortMapping{HostPort: 80}, ".container_port"},
		{&runtimeapi.PortMapping{ContainerPort: 65536}, ".container_port"},
		{&runtimeapi.PortMapping{ContainerPort: -1}, ".container_port"},
		{&runtimeapi.PortMapping{ContainerPort: 80, HostPort: 65536}, ".host_port"},
		{&runtimeapi.PortMapping{ContainerPort: 80, HostPort: -80}, ".host_port"},
		{&runtimeapi.PortMapping{ContainerPort: 80, Protocol: 3}, ".protocol"},
		{&runtimeapi.PortMapping{ContainerPort: 80, HostIp: "localhost"}, ".host_ip"},
	} {
		c := pod()
		c.PortMappings = []*runtimeapi.PortMapping{{}, tc.port}
		field := tc.field
		if field != "" || tc.port == nil {
			field = "config.port_mappings[1]" + field
		}
		check(t, tc.port.String(), &runtimeapi.RunPodSandboxRequest{Config: c}, field)
	}
}

func TestUserNamespaces(t *testing.T) {
	m := func(host, container, length uint32) []*runtimeapi.IDMapping {
		return []*runtimeapi.IDMapping{{HostId: host, ContainerId: container, Length: length}}
	}
	ok := m(65536, 0, 65536)
	const f = "config.linux.security_context.namespace_options.userns_options"
	for _, tc := range []struct {
		u     *runtimeapi.UserNamespace
		field string
	}{
		{&runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}, ""},
		{&runtimeapi.UserNamespace{}, ""},
		{&runtimeapi.UserNamespace{Uids: ok, Gids: ok}, ""},
		{&runtimeapi.UserNamespace{Uids: ok}, f + ".gids"},
		{&runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE, Uids: ok, Gids: ok}, f + ".uids"},
		{&runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_CONTAINER}, f + ".mode"},
		{&runtimeapi.UserNamespace{Uids: m(0, 0, 0), Gids: ok}, f + ".uids[0].length"},
		{&runtimeapi.UserNamespace{Uids: ok, Gids: m(1<<32-1, 0, 1)}, f + ".gids[0].host_id"},
		{&runtimeapi.UserNamespace{Uids: m(0, 1<<31, 1<<31), Gids: ok}, f + ".uids[0].container_id"},
	} {
		c := pod()
		c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = tc.u
		check(t, tc.u.String(), &runtimeapi.RunPodSandboxRequest{Config: c}, tc.field)
	}
}

func TestCalls(t *testing.T) {
	ref := func(s string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: s} }
	cidr := func(s string) *runtimeapi.UpdateRuntimeConfigRequest {
		return &runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: s}}}
	}
	for _, tc := range []struct {
		what  string
		req   any
		field string
	}{
		{"unknown message", &runtimeapi.VersionRequest{}, ""},
		{"no message", nil, ""},
		{"empty id", &runtimeapi.StartContainerRequest{}, "container_id"},
		{"id with newline", &runtimeapi.StartContainerRequest{ContainerId: "a\n"}, "container_id"},
		{"id going up", &runtimeapi.RemoveContainerRequest{ContainerId: "../../etc"}, "container_id"},
		{"id with space", &runtimeapi.RemovePodSandboxRequest{PodSandboxId: "a b"}, "pod_sandbox_id"},
		{"long id", &runtimeapi.PodSandboxStatusRequest{PodSandboxId: strings.Repeat("a", 257)}, "pod_sandbox_id"},
		{"id", &runtimeapi.ContainerStatusRequest{ContainerId: strings.Repeat("a", 64)}, ""},
		{"stop", &runtimeapi.StopContainerRequest{ContainerId: "a", Timeout: 30}, ""},
		{"negative grace", &runtimeapi.StopContainerRequest{ContainerId: "a", Timeout: -1}, "timeout"},
		{"negative timeout", &runtimeapi.ExecSyncRequest{ContainerId: "a", Cmd: []string{"x"}, Timeout: -1}, "timeout"},
		{"no command", &runtimeapi.ExecSyncRequest{ContainerId: "a"}, "cmd"},
		{"empty command", &runtimeapi.ExecRequest{ContainerId: "a", Cmd: []string{""}, Stdout: true}, "cmd"},
		{"NUL in a command", &runtimeapi.ExecSyncRequest{ContainerId: "a", Cmd: []string{"x", "a\x00b"}}, "cmd[1]"},
		{"newline in a command", &runtimeapi.ExecSyncRequest{ContainerId: "a", Cmd: []string{"sh", "-c", "a\nb"}}, ""},
		{"exec without id", &runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}, "container_id"},
		{"tty with stderr", &runtimeapi.ExecRequest{ContainerId: "a", Cmd: []string{"x"}, Tty: true, Stderr: true}, "stderr"},
		{"no streams", &runtimeapi.AttachRequest{ContainerId: "a"}, "stdout"},
		{"attach", &runtimeapi.AttachRequest{ContainerId: "a", Stderr: true}, ""},
		{"port 0", &runtimeapi.PortForwardRequest{PodSandboxId: "a", Port: []int32{80, 0}}, "port[1]"},
		{"port-forward", &runtimeapi.PortForwardRequest{PodSandboxId: "a", Port: []int32{80, 65535}}, ""},
		{"update", &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "a", Linux: &runtimeapi.LinuxContainerResources{CpuQuota: -2}}, "linux.cpu_quota"},
		{"no image", &runtimeapi.PullImageRequest{}, "image"},
		{"empty image", &runtimeapi.RemoveImageRequest{Image: ref("")}, "image.image"},
		{"image with space", &runtimeapi.ImageStatusRequest{Image: ref("a b")}, "image.image"},
		{"image with newline", &runtimeapi.PullImageRequest{Image: ref("a\nb")}, "image.image"},
		{"long image", &runtimeapi.PullImageRequest{Image: ref(strings.Repeat("a", 1025))}, "image.image"},
		{"newline in a password", &runtimeapi.PullImageRequest{Image: ref("a"), Auth: &runtimeapi.AuthConfig{Password: "a\r\nX: y"}}, "auth.password"},
		{"list all images", &runtimeapi.ListImagesRequest{}, ""},
		{"pod CIDRs", cidr("10.1.0.0/24, fd00::/64"), ""},
		{"no pod CIDR", cidr(""), ""},
		{"pod CIDR of a host", cidr("10.1.0.5/24"), "runtime_config.network_config.pod_cidr"},
		{"pod CIDR nonsense", cidr("10.1.0.0/24,"), "runtime_config.network_config.pod_cidr"},
		{"list", &runtimeapi.ListContainersRequest{}, ""},
		{"list of unknown state", &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: 7}}}, "filter.state.state"},
		{"list of unknown pod state", &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: 7}}}, "filter.state.state"},
		{"list by newline", &runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{Id: "a\n"}}, "filter.id"},
		{"list by no label", &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{LabelSelector: map[string]string{"": "x"}}}, "filter.label_selector"},
	} {
		check(t, tc.what, tc.req, tc.field)
	}
}

func BenchmarkCreateContainer(b *testing.B) {
	req := &runtimeapi.CreateContainerRequest{PodSandboxId: "a", Config: container(), SandboxConfig: pod()}
	b.ReportAllocs()
	for b.Loop() {
		if err := Request(req); err != nil {
			b.Fatal(err)
		}
	}
}

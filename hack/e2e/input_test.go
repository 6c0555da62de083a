package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a pod must not be asked with is refused, saying the field, and leaves nothing.
func TestRefusedPods(t *testing.T) {
	n := startNode(t)
	overcommit, err := os.ReadFile("/proc/sys/vm/overcommit_memory") // what it is: nothing changes, should it be written
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		edit func(*podConfig)
		code codes.Code
		says string
	}{
		"sysctl of the node": {func(c *podConfig) {
			c.Linux.Sysctls = map[string]string{"vm.overcommit_memory": strings.TrimSpace(string(overcommit))}
		},
			codes.InvalidArgument, "vm.overcommit_memory"},
		"sysctl with a second one inside": {func(c *podConfig) {
			c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1+kernel.core_pattern=x"}
		}, codes.InvalidArgument, "kernel.shm_rmid_forced"},
		"sysctl with a path":   {func(c *podConfig) { c.Linux.Sysctls = map[string]string{"net/../kernel/core_pattern": "x"} }, codes.InvalidArgument, "sysctl"},
		"no metadata":          {func(c *podConfig) { c.Metadata = nil }, codes.InvalidArgument, "metadata"},
		"control byte":         {func(c *podConfig) { c.Hostname = "a\nb" }, codes.InvalidArgument, "hostname"},
		"DNS server":           {func(c *podConfig) { c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"x\ny"}} }, codes.InvalidArgument, "dns_config"},
		"port out of range":    {func(c *podConfig) { c.PortMappings = []*runtimeapi.PortMapping{{HostPort: 70000, ContainerPort: 1}} }, codes.InvalidArgument, "port"},
		"log path that climbs": {func(c *podConfig) { c.LogDirectory = "relative/../logs" }, codes.InvalidArgument, "log_directory"},
	} {
		_, err := n.runtime.RunPodSandbox(n.ctx, runRequest(n.podConfig("bad", test.edit)))
		t.Logf("%s: %v", name, err)
		wantCode(t, err, test.code, test.says)
	}
	_, err = n.runtime.RunPodSandbox(n.ctx, &runtimeapi.RunPodSandboxRequest{Config: n.podConfig("handler", nil), RuntimeHandler: "no-such"})
	if err == nil {
		t.Errorf("an unknown runtime handler is no error")
	}
	n.wantPods(0)
	if found := n.leftoverPods(); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
}

// leftoverPods is what there is of pods on the disk.
func (n *node) leftoverPods() []string {
	a, _ := filepath.Glob(filepath.Join(n.layout.PodRecords(), "*"))
	b, _ := filepath.Glob(filepath.Join(n.layout.State, "pods", "*"))
	return append(a, b...)
}

func TestRefusedContainers(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("refusing", nil)
	for name, test := range map[string]struct {
		edit func(*containerConfig)
		code codes.Code
		says string
	}{
		"image that is not there": {func(c *containerConfig) { c.Image.Image = registry + "/e2e/none:1" }, codes.NotFound, "/e2e/none:1"},
		"control byte in a variable": {func(c *containerConfig) { c.Envs = []*runtimeapi.KeyValue{{Key: "A\x00B", Value: []byte("x")}} },
			codes.InvalidArgument, "envs"},
		"log path that climbs": {func(c *containerConfig) { c.LogPath = "../../escaped.log" }, codes.InvalidArgument, "log_path"},
		"relative mount": {func(c *containerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: n.dir, ContainerPath: "relative"}}
		}, codes.InvalidArgument, "container_path"},
		"user beyond the kernel's range": {func(c *containerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1 << 31}
		}, codes.InvalidArgument, "run_as_user"},
		"unknown capability": {func(c *containerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"NO_SUCH"}}
		}, codes.InvalidArgument, "NO_SUCH"},
		"seccomp profile that is not there": {func(c *containerConfig) {
			c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: n.dir + "/none.json"}
		}, codes.InvalidArgument, "none.json"},
		"target that is not there": {func(c *containerConfig) {
			c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: modeTarget, TargetId: "0123456789ab"}
		}, codes.NotFound, "0123456789ab"},
		"too little memory": {func(c *containerConfig) {
			c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: -5}
		},
			codes.InvalidArgument, "memory_limit"},
	} {
		_, err := n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{
			PodSandboxId: p.id, Config: p.config("bad", forever, test.edit), SandboxConfig: p.cfg})
		t.Logf("%s: %v", name, err)
		wantCode(t, err, test.code, test.says)
	}
	if found, _ := filepath.Glob(filepath.Join(n.layout.ContainerRecords(), "*")); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	if _, err := os.Lstat(filepath.Join(n.dir, "escaped.log")); err == nil {
		t.Errorf("a log outside of the pod's directory")
	}
	// A path that is not there is known only when init looks.
	missing := p.create("missing", []string{"/no/such/program"}, nil)
	_, err := n.runtime.StartContainer(n.ctx, &runtimeapi.StartContainerRequest{ContainerId: missing.id})
	if err == nil {
		t.Fatalf("the start of a program that is not there is no error")
	}
	wantWords(t, err, "/no/such/program", "no such file")
	if s := missing.status(); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 128 || s.Reason != "StartError" {
		t.Errorf("after the failed start: %v", s)
	}
}

// What the field's runtimes make when it is missing is made: the source of a mount, and the working directory.
func TestMissingDirectoriesAreMade(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("making", nil)
	source := filepath.Join(n.dir, "not/there/yet")
	c := p.run("c", forever, func(c *containerConfig) {
		c.WorkingDir = "/work/deep"
		c.Mounts = []*runtimeapi.Mount{{HostPath: source, ContainerPath: "/into/deep"}}
	})
	if got := c.sh("pwd; echo x >/into/deep/file; stat -c %a /work/deep"); got != "/work/deep\n755" {
		t.Errorf("inside: %q", got)
	}
	if _, err := os.Stat(filepath.Join(source, "file")); err != nil {
		t.Errorf("the mount's source: %v", err)
	}
}

func TestPullErrors(t *testing.T) {
	n := startNode(t)
	for name, test := range map[string]struct {
		ref  string
		code codes.Code
		says string
	}{
		"unknown tag":        {registry + "/e2e/busybox:none", codes.NotFound, "none"},
		"unknown repository": {registry + "/e2e/none:1", codes.NotFound, "e2e/none"},
		"no reference":       {"UPPER//case:::", codes.InvalidArgument, "UPPER"},
		"nobody listens":     {"127.0.0.1:1/e2e/busybox:1", codes.Unavailable, "127.0.0.1:1"},
	} {
		_, err := n.images.PullImage(n.ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: test.ref}})
		t.Logf("%s: %v", name, err)
		wantCode(t, err, test.code, test.says)
	}
	wantImages(n, 0)
	r, err := n.images.ImageStatus(n.ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: busybox}})
	if err != nil || r.Image != nil {
		t.Errorf("status of an image that is not there: %v, %v", r, err)
	}
}

package ocispec

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const passwdFile = `root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1:daemon:/usr/sbin:/bin/false
app:x:1000:1001:an app:/home/app:/bin/sh
1002:x:0:0:digits as a name:/root:/bin/sh
broken:x:notanumber:0::/:/bin/sh
huge:x:4294967296:0::/:/bin/sh
`

const groupFile = `root:x:0:
audio:x:29:app,daemon
video:x:44:daemon , app
app:x:1001:
bad:x:99999999999:app
`

// base is a request as a kubelet makes it for a plain container; fields may be changed.
func base() Input {
	return Input{
		ID: "c0", PodID: "p0",
		Pod: &runtimeapi.PodSandboxConfig{
			Hostname: "web-0",
			Metadata: &runtimeapi.PodSandboxMetadata{Name: "web-0", Namespace: "default", Uid: "u-1"},
			Linux: &runtimeapi.LinuxPodSandboxConfig{
				SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
					NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
				},
			},
		},
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "web"},
			Image:    &runtimeapi.ImageSpec{Image: "sha256:0123", UserSpecifiedImage: "busybox:1"},
			Linux: &runtimeapi.LinuxContainerConfig{
				Resources: &runtimeapi.LinuxContainerResources{},
				SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
					NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
				},
			},
		},
		Image: &ocispec.Image{Config: ocispec.ImageConfig{
			Env: []string{"PATH=/bin", "A=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"serve"},
		}},
		Passwd: []byte(passwdFile), Group: []byte(groupFile),
		NetNS: "/run/p0/net", IPCNS: "/run/p0/ipc", UTSNS: "/run/p0/uts",
		CgroupPath: "/slipway/p0/c0",
		ResolvConf: "/run/p0/resolv.conf", Hosts: "/run/p0/hosts", Hostname: "/run/p0/hostname", ShmDir: "/run/p0/shm",
		Host: Host{CgroupV2: true, OOMScoreMin: -1000, Seccomp: fakeSeccomp},
	}
}

func (in *Input) security() *runtimeapi.LinuxContainerSecurityContext {
	return in.Config.Linux.SecurityContext
}

func fakeSeccomp(s *specs.Spec, kind runtimeapi.SecurityProfile_ProfileType, ref string) (*specs.LinuxSeccomp, error) {
	if s.Process.Capabilities == nil {
		return nil, errors.New("capabilities are not set yet")
	}
	// The name of the profile is carried where the golden file shows it.
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, ListenerMetadata: kind.String() + ":" + ref}, nil
}

func TestBuildGolden(t *testing.T) {
	for name, in := range map[string]Input{"plain": base(), "full": fullInput(), "privileged": privilegedInput()} {
		t.Run(name, func(t *testing.T) {
			out, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(out, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", d)
			}
		})
	}
}

func fullInput() Input {
	in := base()
	in.Config.Tty = true
	in.Config.Args = []string{"--port", "80"}
	in.Config.WorkingDir = "/srv"
	in.Config.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("request")}, {Key: "B", Value: []byte("x=y")}}
	in.Config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/data/sub", HostPath: "/host/sub", Readonly: true, RecursiveReadOnly: true},
		{ContainerPath: "/data", HostPath: "/host/data", Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
			MountOptions: []string{"nosuid", "noexec"}},
		{ContainerPath: "/etc/hosts", HostPath: "/host/etc-hosts", SelinuxRelabel: true},
	}
	in.Config.Devices = []*runtimeapi.Device{{HostPath: "/dev/snd", ContainerPath: "/dev/audio", Permissions: "rw"}}
	in.Config.Linux.Resources = &runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 512, MemoryLimitInBytes: 64 << 20, OomScoreAdj: 985,
		CpusetCpus: "0-1", HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}},
		Unified: map[string]string{"memory.high": "1000000"},
	}
	s := in.security()
	s.RunAsUser, s.RunAsGroup = &runtimeapi.Int64Value{Value: 1000}, &runtimeapi.Int64Value{Value: 2000}
	s.SupplementalGroups = []int64{3000, 29}
	s.ReadonlyRootfs, s.NoNewPrivs = true, true
	s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
	s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}
	s.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	s.SelinuxOptions = &runtimeapi.SELinuxOption{Level: "s0:c1,c2"}
	in.Image.Config.Volumes = map[string]struct{}{"/data": {}, "../var/lib/db/": {}, "/sys/fs/cgroup": {}, "/cache": {}}
	in.Image.Config.StopSignal = "quit"
	in.VolumeDir = "/var/lib/x/volumes"
	in.Host.SELinux, in.Host.AppArmor, in.Host.AppArmorDefault, in.Host.Swap = true, true, "slipway-default", true
	in.Host.Device = func(p string) ([]specs.LinuxDevice, error) {
		return []specs.LinuxDevice{
			{Path: p + "/controlC0", Type: "c", Major: 116, Minor: 0},
			{Path: p + "/by-path/pcm", Type: "c", Major: 116, Minor: 16},
		}, nil
	}
	return in
}

func privilegedInput() Input {
	in := base()
	in.Pod.Linux.SecurityContext.Privileged = true
	in.Pod.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	s := in.security()
	s.Privileged = true
	s.NamespaceOptions = &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE,
		Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE}
	s.MaskedPaths = []string{"/proc/kcore"}
	s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
	s.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	in.NetNS, in.IPCNS, in.UTSNS = "", "", ""
	in.Config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/dev", HostPath: "/dev"},
		{ContainerPath: "/mnt", HostPath: "/mnt", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL},
	}
	in.Config.Linux.Resources.OomScoreAdj = -997
	in.Host.OOMScoreMin = 0
	in.Host.BoundingCaps = []string{"CAP_SYS_ADMIN", "CAP_CHOWN"}
	in.Host.Devices = []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}}
	return in
}

func TestBuildRefuses(t *testing.T) {
	set := func(f func(*runtimeapi.LinuxContainerSecurityContext)) func(*Input) {
		return func(in *Input) { f(in.security()) }
	}
	mount := func(m *runtimeapi.Mount) func(*Input) {
		return func(in *Input) { in.Config.Mounts = []*runtimeapi.Mount{m} }
	}
	image := func(m *runtimeapi.Mount) func(*Input) {
		m.ContainerPath, m.Image = "/a", &runtimeapi.ImageSpec{Image: "x"}
		return func(in *Input) { in.Config.Mounts, in.ImageVolumes = []*runtimeapi.Mount{m}, []string{"sha256:9"} }
	}
	res := func(r *runtimeapi.LinuxContainerResources) func(*Input) {
		return func(in *Input) { in.Config.Linux.Resources = r }
	}
	pod := runtimeapi.NamespaceMode_POD
	for name, tc := range map[string]struct {
		change func(*Input)
		kind   error
		says   string
	}{
		"no command":      {func(in *Input) { in.Image.Config.Entrypoint, in.Image.Config.Cmd = nil, nil }, lifecycle.ErrInvalid, "command"},
		"NUL in args":     {func(in *Input) { in.Config.Args = []string{"a\x00b"} }, lifecycle.ErrInvalid, "NUL"},
		"env name with =": {func(in *Input) { in.Config.Envs = []*runtimeapi.KeyValue{{Key: "A=B"}} }, lifecycle.ErrInvalid, "envs"},
		"env empty name":  {func(in *Input) { in.Config.Envs = []*runtimeapi.KeyValue{{Key: ""}} }, lifecycle.ErrInvalid, "envs"},
		"env NUL":         {func(in *Input) { in.Config.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte{0}}} }, lifecycle.ErrInvalid, "envs"},
		// CVE-2026-15809: a line of its own in what becomes /etc/passwd.
		"HOME newline":              {func(in *Input) { in.Image.Config.Env = []string{"HOME=/\nroot::0:0::/:/bin/sh"} }, lifecycle.ErrInvalid, "HOME"},
		"passwd HOME control":       {func(in *Input) { in.Passwd = []byte("root:x:0:0::/\x01:/bin/sh\n") }, lifecycle.ErrInvalid, "home"},
		"relative cwd":              {func(in *Input) { in.Config.WorkingDir = "srv" }, lifecycle.ErrInvalid, "working_dir"},
		"privileged in a plain pod": {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.Privileged = true }), lifecycle.ErrInvalid, "privileged"},
		"unknown capability": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"SYS_FOO"}}
		}), lifecycle.ErrInvalid, "SYS_FOO"},
		"uid too large": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser = &runtimeapi.Int64Value{Value: 1 << 31}
		}), lifecycle.ErrInvalid, "run_as_user"},
		"uid negative": {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = &runtimeapi.Int64Value{Value: -1} }), lifecycle.ErrInvalid, "run_as_user"},
		"gid alone":    {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsGroup = &runtimeapi.Int64Value{Value: 1} }), lifecycle.ErrInvalid, "run_as_group"},
		"user and name": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsUsername = &runtimeapi.Int64Value{}, "app"
		}), lifecycle.ErrInvalid, "run_as_username"},
		"username of digits":     {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUsername = "1002" }), lifecycle.ErrInvalid, "run_as_username"},
		"supplemental group":     {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.SupplementalGroups = []int64{1 << 40} }), lifecycle.ErrInvalid, "supplemental_groups"},
		"relative masked path":   {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.MaskedPaths = []string{"proc"} }), lifecycle.ErrInvalid, "masked_paths"},
		"relative readonly path": {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.ReadonlyPaths = []string{"proc"} }), lifecycle.ErrInvalid, "readonly_paths"},
		"relative seccomp": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "x.json"}
		}), lifecycle.ErrInvalid, "absolute"},
		"AppArmor without a kernel": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Apparmor = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "p"}
		}), lifecycle.ErrUnsupported, "AppArmor"},
		"user namespace": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: pod}
		}), lifecycle.ErrInvalid, "userns_options"},
		"pod pid without one": {set(func(s *runtimeapi.LinuxContainerSecurityContext) { s.NamespaceOptions.Pid = pod }), lifecycle.ErrInvalid, "pid"},
		"target without id": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
		}), lifecycle.ErrInvalid, "target_id"},
		"network of a container": {set(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.NamespaceOptions.Network = runtimeapi.NamespaceMode_CONTAINER
		}), lifecycle.ErrUnsupported, "network"},
		"mount on /":          {mount(&runtimeapi.Mount{ContainerPath: "/a/..", HostPath: "/h"}), lifecycle.ErrInvalid, "container_path"},
		"relative mount":      {mount(&runtimeapi.Mount{ContainerPath: "a", HostPath: "/h"}), lifecycle.ErrInvalid, "container_path"},
		"no host path":        {mount(&runtimeapi.Mount{ContainerPath: "/a"}), lifecycle.ErrInvalid, "host_path"},
		"rro but rw":          {mount(&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/h", RecursiveReadOnly: true}), lifecycle.ErrInvalid, "readonly"},
		"rro and propagation": {mount(&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/h", Readonly: true, RecursiveReadOnly: true, Propagation: 1}), lifecycle.ErrInvalid, "private"},
		"image unresolved":    {mount(&runtimeapi.Mount{ContainerPath: "/a", Image: &runtimeapi.ImageSpec{Image: "x"}}), lifecycle.ErrInvalid, "mounts[0].image"},
		"image and host path": {image(&runtimeapi.Mount{HostPath: "/h"}), lifecycle.ErrInvalid, "mounts[0].host_path"},
		"image propagation":   {image(&runtimeapi.Mount{Propagation: 1}), lifecycle.ErrInvalid, "mounts[0].propagation"},
		"image sub path out":  {image(&runtimeapi.Mount{ImageSubPath: "a/../../b"}), lifecycle.ErrInvalid, "mounts[0].image_sub_path"},
		"image sub path abs":  {image(&runtimeapi.Mount{ImageSubPath: "/b"}), lifecycle.ErrInvalid, "mounts[0].image_sub_path"},
		"image option":        {image(&runtimeapi.Mount{MountOptions: []string{"exec"}}), lifecycle.ErrInvalid, "mounts[0].mount_options[0]"},
		"sub path alone":      {mount(&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/h", ImageSubPath: "b"}), lifecycle.ErrInvalid, "mounts[0].image_sub_path"},
		"id mapped mount":     {mount(&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/h", UidMappings: []*runtimeapi.IDMapping{{}}}), lifecycle.ErrInvalid, "mounts[0].uidMappings"},
		"mount option":        {mount(&runtimeapi.Mount{ContainerPath: "/a", HostPath: "/h", MountOptions: []string{"noexec", "suid"}}), lifecycle.ErrInvalid, "mounts[0].mount_options[1]"},
		"volume on /":         {func(in *Input) { in.Image.Config.Volumes = map[string]struct{}{"../": {}} }, lifecycle.ErrInvalid, "VOLUME"},
		"CDI":                 {func(in *Input) { in.Config.CDIDevices = []*runtimeapi.CDIDevice{{Name: "x"}} }, lifecycle.ErrUnsupported, "CDI"},
		"device permissions":  {func(in *Input) { in.Config.Devices = []*runtimeapi.Device{{HostPath: "/dev/x", Permissions: "rx"}} }, lifecycle.ErrInvalid, "permissions"},
		"cpu period":          {res(&runtimeapi.LinuxContainerResources{CpuPeriod: 5}), lifecycle.ErrInvalid, "cpu_period"},
		"cpu quota":           {res(&runtimeapi.LinuxContainerResources{CpuQuota: -2}), lifecycle.ErrInvalid, "cpu_quota"},
		"cpu shares":          {res(&runtimeapi.LinuxContainerResources{CpuShares: -1}), lifecycle.ErrInvalid, "cpu_shares"},
		"cpuset":              {res(&runtimeapi.LinuxContainerResources{CpusetCpus: "2-1"}), lifecycle.ErrInvalid, "cpuset_cpus"},
		"memory":              {res(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: -5}), lifecycle.ErrInvalid, "memory_limit"},
		"swap below memory":   {res(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 4}), lifecycle.ErrInvalid, "memory_swap"},
		"hugepage":            {res(&runtimeapi.LinuxContainerResources{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2M"}}}), lifecycle.ErrInvalid, "page_size"},
		"unified procs":       {res(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"cgroup.procs": "1"}}), lifecycle.ErrInvalid, "unified"},
		"unified elsewhere":   {res(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"../memory.max": "1"}}), lifecycle.ErrInvalid, "unified"},
		"oom score":           {res(&runtimeapi.LinuxContainerResources{OomScoreAdj: 1001}), lifecycle.ErrInvalid, "oom_score_adj"},
	} {
		t.Run(name, func(t *testing.T) {
			in := base()
			tc.change(&in)
			_, err := Build(in)
			if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want a %q naming %q", err, tc.kind, tc.says)
			}
		})
	}
}

// Reserved annotations and labels of pod, container and image reach nothing (CVE-2024-3154, CVE-2026-53488).
func TestAnnotationsDoNotAct(t *testing.T) {
	in := base()
	const key = "org.systemd.property.ExecStart"
	m := map[string]string{key: "'/bin/x'", "io.kubernetes.cri.container-type": "sandbox"}
	in.Pod.Annotations, in.Config.Annotations, in.Image.Config.Labels = m, m, m
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := out.Spec.Annotations[key]; ok {
		t.Errorf("%s = %q", key, v)
	}
	if got := out.Spec.Annotations["io.kubernetes.cri.container-type"]; got != "container" {
		t.Errorf("container-type = %q", got)
	}
}

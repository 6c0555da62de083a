package ocispec

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestArgs(t *testing.T) {
	for name, tc := range map[string]struct{ command, args, want []string }{
		"neither":      {nil, nil, []string{"/entry", "serve"}},
		"args":         {nil, []string{"a"}, []string{"/entry", "a"}},
		"command":      {[]string{"c"}, nil, []string{"c"}},
		"command+args": {[]string{"c"}, []string{"a"}, []string{"c", "a"}},
	} {
		in := base()
		in.Config.Command, in.Config.Args = tc.command, tc.args
		out, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tc.want, out.Spec.Process.Args); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// What an image has in ENV that is no variable is left out, as other runtimes do.
func TestImageEnv(t *testing.T) {
	in := base()
	in.Image.Config.Env = []string{"BARE", "=x", "", "NUL=a\x00b", "A=b=c", "E="}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range out.Spec.Process.Env {
		if strings.HasPrefix(kv, "=") || !strings.Contains(kv, "=") || strings.Contains(kv, "\x00") {
			t.Errorf("environment has %q", kv)
		}
	}
	for _, kv := range []string{"A=b=c", "E="} {
		if !slices.Contains(out.Spec.Process.Env, kv) {
			t.Errorf("environment lacks %q: %q", kv, out.Spec.Process.Env)
		}
	}
}

func TestCapabilities(t *testing.T) {
	all := knownCapabilities()
	for name, tc := range map[string]struct {
		c           *runtimeapi.Capability
		has, hasNot []string
		ambient     []string
		size        int
	}{
		"default":         {nil, []string{"CAP_CHOWN"}, []string{"CAP_SYS_ADMIN"}, nil, 14},
		"add":             {&runtimeapi.Capability{AddCapabilities: []string{"cap_sys_admin", "NET_ADMIN", "CHOWN"}}, []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}, nil, nil, 16},
		"drop":            {&runtimeapi.Capability{DropCapabilities: []string{"KILL"}}, nil, []string{"CAP_KILL"}, nil, 13},
		"all but one":     {&runtimeapi.Capability{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"CHOWN"}}, nil, []string{"CAP_CHOWN"}, nil, len(all) - 1},
		"none but one":    {&runtimeapi.Capability{DropCapabilities: []string{"all"}, AddCapabilities: []string{"CHOWN"}}, []string{"CAP_CHOWN"}, nil, nil, 1},
		"ambient":         {&runtimeapi.Capability{AddAmbientCapabilities: []string{"NET_ADMIN"}}, []string{"CAP_NET_ADMIN"}, nil, []string{"CAP_NET_ADMIN"}, 15},
		"ambient dropped": {&runtimeapi.Capability{AddAmbientCapabilities: []string{"KILL"}, DropCapabilities: []string{"KILL"}}, nil, []string{"CAP_KILL"}, nil, 13},
	} {
		t.Run(name, func(t *testing.T) {
			in := base()
			in.security().Capabilities = tc.c
			out, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			c := out.Spec.Process.Capabilities
			if len(c.Bounding) != tc.size || !cmp.Equal(c.Bounding, c.Effective) || !cmp.Equal(c.Bounding, c.Permitted) {
				t.Errorf("%d: %+v", len(c.Bounding), c)
			}
			for _, n := range tc.has {
				if !slices.Contains(c.Bounding, n) {
					t.Errorf("%s is missing", n)
				}
			}
			for _, n := range tc.hasNot {
				if slices.Contains(c.Bounding, n) {
					t.Errorf("%s is there", n)
				}
			}
			if !slices.Equal(c.Ambient, tc.ambient) || !slices.Equal(c.Inheritable, tc.ambient) {
				t.Errorf("ambient %v inheritable %v", c.Ambient, c.Inheritable)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	in := base()
	in.PIDNS = "/proc/77/ns/pid"
	in.security().NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: "t"}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, {Type: specs.UTSNamespace, Path: "/run/p0/uts"}, {Type: specs.CgroupNamespace},
		{Type: specs.NetworkNamespace, Path: "/run/p0/net"}, {Type: specs.IPCNamespace, Path: "/run/p0/ipc"},
		{Type: specs.PIDNamespace, Path: "/proc/77/ns/pid"},
	}
	if d := cmp.Diff(want, out.Spec.Linux.Namespaces); d != "" {
		t.Error(d)
	}
}

// A mount over a directory of default mounts takes them along; the image's volumes do not.
func TestMountsReplaceDefaults(t *testing.T) {
	in := base()
	in.Config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/sys", HostPath: "/sys", Readonly: true},
		{ContainerPath: "/dev/shm/", HostPath: "/big"},
		{ContainerPath: "/etc", HostPath: "/h/etc"},
	}
	in.Image.Config.Volumes = map[string]struct{}{"/proc": {}, "/dev/x": {}, "/procession": {}}
	in.VolumeDir = "/v"
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range out.Spec.Mounts {
		got = append(got, m.Source+":"+m.Destination)
	}
	want := []string{
		"proc:/proc", "tmpfs:/dev", "/v/0:/procession", "/sys:/sys", "/h/etc:/etc", "devpts:/dev/pts", "mqueue:/dev/mqueue",
		"/run/p0/hosts:/etc/hosts", "/run/p0/resolv.conf:/etc/resolv.conf", "/run/p0/hostname:/etc/hostname", "/big:/dev/shm",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestProfiles(t *testing.T) {
	local := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "/p.json"}
	for name, tc := range map[string]struct {
		profile *runtimeapi.SecurityProfile
		old     string
		want    string // "" = unconfined
	}{
		"unset":       {nil, "", ""},
		"old default": {nil, "runtime/default", "RuntimeDefault:"},
		"old docker":  {nil, "docker/default", "RuntimeDefault:"},
		"old local":   {nil, "localhost//p.json", "Localhost:/p.json"},
		"old none":    {nil, "unconfined", ""},
		"new wins":    {local, "unconfined", "Localhost:/p.json"},
		"unconfined":  {&runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, "", ""},
	} {
		in := base()
		in.security().Seccomp = tc.profile
		//lint:ignore SA1019 older kubelets send the string alone
		in.security().SeccompProfilePath = tc.old
		out, err := Build(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := ""
		if s := out.Spec.Linux.Seccomp; s != nil {
			got = s.ListenerMetadata
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestAppArmor(t *testing.T) {
	kind := func(k runtimeapi.SecurityProfile_ProfileType, ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: k, LocalhostRef: ref}
	}
	for name, tc := range map[string]struct {
		profile *runtimeapi.SecurityProfile
		old     string
		kernel  bool
		want    string
	}{
		"no kernel, unset":   {nil, "", false, ""},
		"no kernel, default": {kind(runtimeapi.SecurityProfile_RuntimeDefault, ""), "", false, ""},
		"unset":              {nil, "", true, "default"},
		"old local":          {nil, "localhost/mine", true, "mine"},
		"old unconfined":     {nil, "unconfined", true, ""},
		"local":              {kind(runtimeapi.SecurityProfile_Localhost, "mine"), "", true, "mine"},
	} {
		in := base()
		in.Host.AppArmor, in.Host.AppArmorDefault = tc.kernel, "default"
		in.security().Apparmor = tc.profile
		//lint:ignore SA1019 older kubelets send the string alone
		in.security().ApparmorProfile = tc.old
		out, err := Build(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := out.Spec.Process.ApparmorProfile; got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestResourcesBounds(t *testing.T) {
	r, err := Resources(&runtimeapi.LinuxContainerResources{CpuShares: 1, MemoryLimitInBytes: 1000, MemorySwapLimitInBytes: -1}, Host{Swap: true})
	if err != nil {
		t.Fatal(err)
	}
	if *r.CPU.Shares != 2 || *r.Memory.Limit != 1000 || *r.Memory.Swap != -1 {
		t.Errorf("%+v %+v", r.CPU, r.Memory)
	}
	if _, err := Resources(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"memory.max": "1"}}, Host{}); !errors.Is(err, lifecycle.ErrUnsupported) {
		t.Errorf("unified on v1: %v", err)
	}
}

func TestPodResources(t *testing.T) {
	cfg := &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{
		Resources: &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 100},
		Overhead:  &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 10000, CpuShares: 10, MemoryLimitInBytes: 1 << 20},
	}}
	r, err := PodResources(cfg, Host{Swap: true})
	if err != nil {
		t.Fatal(err)
	}
	// The overhead alone must not become the limit of memory that has none.
	if *r.CPU.Quota != 60000 || *r.CPU.Shares != 110 || r.Memory != nil {
		t.Errorf("%+v %+v", r.CPU, r.Memory)
	}
	if r, err := PodResources(&runtimeapi.PodSandboxConfig{}, Host{}); r != nil || err != nil {
		t.Errorf("nothing asked: %v %v", r, err)
	}
	cfg.Linux.Overhead.CpuQuota = -7
	if _, err := PodResources(cfg, Host{}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("negative overhead: %v", err)
	}
}

func TestStopSignal(t *testing.T) {
	for image, want := range map[string]string{
		"": "SIGTERM", "SIGQUIT": "SIGQUIT", "quit": "SIGQUIT", "3": "SIGQUIT", "SIGRTMIN+3": "SIGRTMIN+3", "37": "SIGRTMIN+3",
		"SIGRTMAX-14": "SIGRTMAX-14", "SIGRTMAX": "SIGRTMAX", "0": "SIGTERM", "65": "SIGTERM", "SIGFOO": "SIGTERM", "-9": "SIGTERM",
		"SIGRTMIN+99": "SIGTERM",
	} {
		if got := stopSignal(runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT, image); got != want {
			t.Errorf("image %q: %s, want %s", image, got, want)
		}
	}
	for n := range runtimeapi.Signal_name {
		if n == 0 {
			continue
		}
		name := stopSignal(runtimeapi.Signal(n), "SIGQUIT")
		if sig, err := Signal(name); err != nil || sig == 3 && n != int32(runtimeapi.Signal_SIGNAL_SIGQUIT) {
			t.Errorf("%s became %s: %v", runtimeapi.Signal(n), name, err)
		}
	}
	if got := stopSignal(runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS14, ""); got != "SIGRTMAX-14" {
		t.Error(got)
	}
	if got := stopSignal(runtimeapi.Signal_SIGNAL_SIGCLD, ""); got != "SIGCHLD" {
		t.Error(got)
	}
}

func TestExecSharesNothing(t *testing.T) {
	out, err := Build(base())
	if err != nil {
		t.Fatal(err)
	}
	p := Exec(out.Spec, []string{"sh"}, true)
	if !p.Terminal || !slices.Equal(p.Args, []string{"sh"}) || !slices.Contains(p.Env, "TERM=xterm") || p.User.UID != 0 {
		t.Errorf("%+v", p)
	}
	p.Capabilities.Bounding[0], p.Env[0], *p.OOMScoreAdj = "x", "x", 7
	s := out.Spec.Process
	if s.Terminal || s.Capabilities.Bounding[0] == "x" || s.Env[0] == "x" || *s.OOMScoreAdj == 7 || slices.Contains(s.Env, "TERM=xterm") {
		t.Errorf("the container's own process changed: %+v", s)
	}
}

// TestVolumesStayInside: what an image calls a volume is a path of its own root (CVE-2022-23648), is backed by an empty
// directory of ours and by nothing of the node's, and takes the place of nothing that we mount.
func TestVolumesStayInside(t *testing.T) {
	in := base()
	in.VolumeDir = "/volumes"
	in.Image.Config.Volumes = map[string]struct{}{
		"/../../../var/lib": {}, "../etc": {}, "a/../../b": {}, "/proc/sys": {}, "/sys": {}, "/dev": {}, "//c//": {},
	}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/b", "/c", "/etc", "/var/lib"}
	if !slices.Equal(out.Volumes, want) {
		t.Errorf("volumes %q, want %q", out.Volumes, want)
	}
	for i, v := range want {
		j := slices.IndexFunc(out.Spec.Mounts, func(m specs.Mount) bool { return m.Destination == v })
		if j < 0 || out.Spec.Mounts[j].Source != "/volumes/"+strconv.Itoa(i) {
			t.Errorf("%s: %+v", v, out.Spec.Mounts)
		}
	}
	for _, v := range []string{"/", "..", "a/..", "/x\x00y"} {
		in.Image.Config.Volumes = map[string]struct{}{v: {}}
		if _, err := Build(in); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("volume %q: %v", v, err)
		}
	}
}

func TestImageVolumes(t *testing.T) {
	in := base()
	in.Config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/data", HostPath: "/h", MountOptions: []string{"noexec", "nosuid"}},
		{ContainerPath: "/model/", Image: &runtimeapi.ImageSpec{Image: "x"}, ImageSubPath: "a/b", MountOptions: []string{"noexec", "noatime"}},
		{ContainerPath: "/all", Image: &runtimeapi.ImageSpec{Image: "y"}, Readonly: true, RecursiveReadOnly: true},
	}
	in.ImageVolumes = []string{"", "sha256:1", "sha256:2"}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]specs.Mount{}
	for _, m := range out.Spec.Mounts {
		got[m.Destination] = m
	}
	for _, want := range []specs.Mount{
		{Destination: "/data", Type: "bind", Source: "/h", Options: []string{"rbind", "rprivate", "rw", "noexec", "nosuid"}},
		{Destination: "/model", Type: "overlay", Source: "sha256:1/a/b", Options: []string{"ro", "nosuid", "nodev", "noexec", "noatime"}},
		{Destination: "/all", Type: "overlay", Source: "sha256:2", Options: []string{"ro", "nosuid", "nodev"}},
	} {
		if d := cmp.Diff(want, got[want.Destination]); d != "" {
			t.Error(d)
		}
	}
	want := []ImageVolume{{"/model", "sha256:1", "a/b"}, {"/all", "sha256:2", ""}}
	if d := cmp.Diff(want, out.ImageVolumes); d != "" {
		t.Error(d)
	}
}

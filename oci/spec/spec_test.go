package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// good is a spec that passes; each case breaks one thing.
func good() *specs.Spec {
	return &specs.Spec{
		Version: "1.3.0",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: []string{"sh"}, Env: []string{"A=b", "EMPTY="}, Cwd: "/",
			User:         specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{0}},
			Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}},
		},
		Hostname: "h",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc"},
			{Destination: "/proc/cpuinfo", Type: "bind", Source: "/lxcfs/cpuinfo", Options: []string{"bind"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: "mount"}, {Type: "uts"}, {Type: "ipc"}, {Type: "network", Path: "/run/ns"}, {Type: "pid"}, {Type: "cgroup"}},
			Sysctl:     map[string]string{"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/forwarding": "1", "kernel.sem": "1\t2\t3\t4", "fs.mqueue.msg_max": "9", "kernel.domainname": "x"},
			Devices:    []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}, {Path: "/dev/p", Type: "p"}},
			Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(uint(38)), Architectures: []specs.Arch{specs.ArchX86},
				Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 5, Op: specs.OpEqualTo}}}}},
			MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
			CgroupsPath: "system.slice:slipway:c1", RootfsPropagation: "rslave",
		},
	}
}

func TestGoodSpec(t *testing.T) {
	if err := Validate(good()); err != nil {
		t.Error(err)
	}
	s := good()
	s.Process.Cwd, s.Version = "", "1.0.2-dev"
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}, {ContainerID: 1000, HostID: 200000, Size: 1}}
	if err := Validate(s); err != nil {
		t.Errorf("with a user namespace: %v", err)
	}
	s.Linux.Namespaces[6].Path, s.Linux.UIDMappings, s.Linux.GIDMappings = "/proc/1/ns/user", nil, nil
	if err := Validate(s); err != nil {
		t.Errorf("with a joined user namespace: %v", err)
	}
}

type breach struct {
	do   func(s *specs.Spec)
	kind error
	text string
}

func userNS(s *specs.Spec, maps ...specs.LinuxIDMapping) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
	s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps
}

var breaches = []breach{
	{func(s *specs.Spec) { s.Version = "" }, ErrInvalid, "ociVersion"},
	{func(s *specs.Spec) { s.Version = "2.0.0" }, ErrInvalid, "ociVersion"},
	{func(s *specs.Spec) { s.Version = "1.x.0" }, ErrInvalid, "ociVersion"},
	{func(s *specs.Spec) { s.Root = nil }, ErrInvalid, "root: missing"},
	{func(s *specs.Spec) { s.Root.Path = "a\x00" }, ErrInvalid, "root.path"},
	{func(s *specs.Spec) { s.Windows = &specs.Windows{} }, ErrUnsupported, "windows"},
	{func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/x"}}} }, ErrUnsupported, "hooks"},
	{func(s *specs.Spec) { s.Linux = nil }, ErrInvalid, "linux.namespaces: no mount namespace"},

	{func(s *specs.Spec) { s.Process = nil }, ErrInvalid, "process: missing"},
	{func(s *specs.Spec) { s.Process.Args = nil }, ErrInvalid, "process.args: no program"},
	{func(s *specs.Spec) { s.Process.Args = []string{""} }, ErrInvalid, "process.args: no program"},
	{func(s *specs.Spec) { s.Process.Args = []string{"a", "b\x00c"} }, ErrInvalid, "process.args[1]"},
	{func(s *specs.Spec) { s.Process.Env = []string{"A=1", "B"} }, ErrInvalid, "process.env[1]"},
	{func(s *specs.Spec) { s.Process.Env = []string{"=B"} }, ErrInvalid, "process.env[0]"},
	{func(s *specs.Spec) { s.Process.Env = []string{"A=\x00"} }, ErrInvalid, "process.env[0]"},
	{func(s *specs.Spec) { s.Process.Cwd = "a" }, ErrInvalid, "process.cwd"},
	{func(s *specs.Spec) { s.Process.Cwd = "/a\x00" }, ErrInvalid, "process.cwd: NUL"},
	{func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 1 << 16} }, ErrInvalid, "process.consoleSize"},
	{func(s *specs.Spec) { s.Process.User.UID = 1<<32 - 1 }, ErrInvalid, "process.user.uid"},
	{func(s *specs.Spec) { s.Process.User.GID = 1<<32 - 1 }, ErrInvalid, "process.user.gid"},
	{func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0, 1<<32 - 1} }, ErrInvalid, "process.user.additionalGids[1]"},
	{func(s *specs.Spec) { s.Process.User.AdditionalGids = make([]uint32, 65537) }, ErrInvalid, "process.user.additionalGids: more"},
	{func(s *specs.Spec) { s.Process.User.Umask = ptr(uint32(0o1000)) }, ErrInvalid, "process.user.umask"},
	{func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"CAP_CHOWN", "chown"} }, ErrInvalid, "process.capabilities.bounding[1]"},
	{func(s *specs.Spec) { s.Process.Capabilities.Inheritable = []string{"CAP_X"} }, ErrInvalid, "process.capabilities.inheritable[0]"},
	{func(s *specs.Spec) { s.Process.Capabilities.Effective = []string{"CAP_KILL"} }, ErrInvalid, "process.capabilities.effective"},
	{func(s *specs.Spec) { s.Process.Capabilities.Ambient = []string{"CAP_KILL"} }, ErrInvalid, "process.capabilities.ambient"},
	{func(s *specs.Spec) { s.Process.Rlimits[0].Type = "NOFILE" }, ErrInvalid, "process.rlimits[0].type"},
	{func(s *specs.Spec) { s.Process.Rlimits[0].Soft = 3 }, ErrInvalid, "process.rlimits[0]: soft 3"},
	{func(s *specs.Spec) { s.Process.Rlimits = append(s.Process.Rlimits, s.Process.Rlimits[0]) }, ErrInvalid, "process.rlimits[1].type: second"},
	{func(s *specs.Spec) { s.Process.ApparmorProfile = "a\nb" }, ErrInvalid, "process.apparmorProfile"},
	{func(s *specs.Spec) { s.Process.SelinuxLabel = `a"b` }, ErrInvalid, "process.selinuxLabel"},
	{func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(-1001) }, ErrInvalid, "process.oomScoreAdj"},
	{func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{} }, ErrUnsupported, "process.scheduler"},
	{func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{} }, ErrUnsupported, "process.ioPriority"},
	{func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{} }, ErrUnsupported, "process.execCPUAffinity"},

	{func(s *specs.Spec) { s.Hostname = strings.Repeat("x", 65) }, ErrInvalid, "hostname"},
	{func(s *specs.Spec) { s.Domainname = "a\n" }, ErrInvalid, "domainname"},
	{func(s *specs.Spec) { s.Linux.Namespaces[1].Type = "user" }, ErrInvalid, "hostname: needs a uts namespace"},
	{func(s *specs.Spec) { s.Linux.Namespaces[1].Type = "time" }, ErrUnsupported, "linux.namespaces[1].type"},
	{func(s *specs.Spec) { s.Linux.Namespaces[2].Type = "net" }, ErrInvalid, "linux.namespaces[2].type: unknown"},
	{func(s *specs.Spec) { s.Linux.Namespaces[2].Type = "uts" }, ErrInvalid, "linux.namespaces[2].type: second"},
	{func(s *specs.Spec) { s.Linux.Namespaces[2].Path = "a" }, ErrInvalid, "linux.namespaces[2].path"},
	{func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/a" }, ErrUnsupported, "linux.namespaces[0].path"},

	{func(s *specs.Spec) { s.Mounts[0].Destination = "proc" }, ErrInvalid, "mounts[0].destination"},
	{func(s *specs.Spec) { s.Mounts[0].Destination = "/a\x00" }, ErrInvalid, "mounts[0].destination: NUL"},
	{func(s *specs.Spec) { s.Mounts[0].Destination = "/a/.." }, ErrInvalid, "mounts[0].destination: would cover"},
	{func(s *specs.Spec) { s.Mounts[0].Type = "tmpfs" }, ErrInvalid, `mounts[0].type: "tmpfs" at /proc`},
	{func(s *specs.Spec) { s.Mounts[1].Destination = "/dev/../proc/self/attr" }, ErrInvalid, "mounts[1].destination: \"/proc/self/attr\" is inside /proc"},
	{func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/a"}} }, ErrInvalid, "mounts[0].type: missing"},
	{func(s *specs.Spec) { s.Mounts[1].Source = "" }, ErrInvalid, "mounts[1].source"},
	{func(s *specs.Spec) { s.Mounts[1].Source = "/a\x00" }, ErrInvalid, "mounts[1]: NUL"},
	{func(s *specs.Spec) { s.Mounts[1].Options = []string{"bind", "a\x00"} }, ErrInvalid, "mounts[1].options[1]"},
	{func(s *specs.Spec) { s.Mounts[1].Options = []string{"ridmap"} }, ErrUnsupported, "mounts[1].options[0]"},
	{func(s *specs.Spec) { s.Mounts[1].UIDMappings = []specs.LinuxIDMapping{{}} }, ErrInvalid, "mounts[1].uidMappings[0]: size 0"},

	{func(s *specs.Spec) { s.Linux.Devices[0].Path = "dev" }, ErrInvalid, "linux.devices[0].path"},
	{func(s *specs.Spec) { s.Linux.Devices[0].Path = "/proc/x" }, ErrInvalid, "linux.devices[0].path"},
	{func(s *specs.Spec) { s.Linux.Devices[1].Path = "/dev//fuse" }, ErrInvalid, "linux.devices[1].path: second"},
	{func(s *specs.Spec) { s.Linux.Devices[0].Type = "x" }, ErrInvalid, "linux.devices[0].type"},
	{func(s *specs.Spec) { s.Linux.Devices[0].Major = -1 }, ErrInvalid, "linux.devices[0]: no device number -1:229"},
	{func(s *specs.Spec) { s.Linux.Devices[0].Minor = 1 << 20 }, ErrInvalid, "linux.devices[0]: no device number"},
	{func(s *specs.Spec) { s.Linux.Devices[0].UID = ptr(uint32(1<<32 - 1)) }, ErrInvalid, "linux.devices[0]: uid"},
	{func(s *specs.Spec) { s.Linux.MaskedPaths[0] = "a" }, ErrInvalid, "linux.maskedPaths[0]"},
	{func(s *specs.Spec) { s.Linux.ReadonlyPaths[0] = "" }, ErrInvalid, "linux.readonlyPaths[0]"},
	{func(s *specs.Spec) { s.Linux.RootfsPropagation = "x" }, ErrInvalid, "linux.rootfsPropagation"},
	{func(s *specs.Spec) { s.Linux.MountLabel = `a",b` }, ErrInvalid, "linux.mountLabel"},
	{func(s *specs.Spec) { s.Linux.CgroupsPath = "/a/../b" }, ErrInvalid, "linux.cgroupsPath"},
	{func(s *specs.Spec) { s.Linux.CgroupsPath = "/a\nb" }, ErrInvalid, "linux.cgroupsPath"},
	{func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} }, ErrUnsupported, "linux.intelRdt"},
	{func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{} }, ErrUnsupported, "linux.memoryPolicy"},
	{func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{} }, ErrUnsupported, "linux.personality"},
	{func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} }, ErrUnsupported, "linux.timeOffsets"},
	{func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth1": {}} }, ErrUnsupported, "linux.netDevices"},
	{func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "p"}}}
	}, ErrInvalid, "linux.resources.devices[0].type"},
	{func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwx"}}}
	}, ErrInvalid, "linux.resources.devices[0].access"},
	{func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Unified: map[string]string{"../memory.max": "1"}}
	}, ErrInvalid, "linux.resources.unified"},
	{func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}
	}, ErrInvalid, "linux.resources.unified"},
	{func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../x"}}}
	}, ErrInvalid, "linux.resources.hugepageLimits[0].pageSize"},

	{func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }, ErrInvalid, "given without a user namespace"},
	{func(s *specs.Spec) { userNS(s) }, ErrInvalid, "both are needed"},
	{func(s *specs.Spec) { userNS(s, specs.LinuxIDMapping{HostID: 1, Size: 10}) }, ErrInvalid, "process.user.uid: 1000 is not in"},
	{func(s *specs.Spec) { userNS(s, specs.LinuxIDMapping{ContainerID: 1000, HostID: 1, Size: 1}) }, ErrInvalid, "gid 0 is not in"},
	{func(s *specs.Spec) { userNS(s, specs.LinuxIDMapping{Size: 0}) }, ErrInvalid, "linux.uidMappings[0]: size 0"},
	{func(s *specs.Spec) { userNS(s, specs.LinuxIDMapping{HostID: 1 << 31, Size: 1 << 31}) }, ErrInvalid, "linux.uidMappings[0]: size"},
	{func(s *specs.Spec) {
		userNS(s, specs.LinuxIDMapping{HostID: 5000, Size: 2000}, specs.LinuxIDMapping{ContainerID: 5000, HostID: 6999, Size: 9})
	}, ErrInvalid, "linux.gidMappings[1]: overlaps"},
	{func(s *specs.Spec) { userNS(s, make([]specs.LinuxIDMapping, 341)...) }, ErrInvalid, "linux.uidMappings: more than 340"},

	{func(s *specs.Spec) { s.Linux.Seccomp.DefaultAction = "" }, ErrInvalid, "linux.seccomp.defaultAction"},
	{func(s *specs.Spec) { s.Linux.Seccomp.ListenerPath = "/x" }, ErrUnsupported, "linux.seccomp.listenerPath"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Architectures[0] = "x86" }, ErrInvalid, "linux.seccomp.architectures[0]"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Action = specs.ActNotify }, ErrUnsupported, "linux.seccomp.syscalls[0].action"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].ErrnoRet = ptr(uint(1)) }, ErrInvalid, "linux.seccomp.syscalls[0].action: errnoRet"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Names = nil }, ErrInvalid, "linux.seccomp.syscalls[0].names"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Args[0].Index = 6 }, ErrInvalid, "linux.seccomp.syscalls[0].args[0].index"},
	{func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Args[0].Op = "=" }, ErrInvalid, "linux.seccomp.syscalls[0].args[0].op"},
}

func TestBreaches(t *testing.T) {
	for i, b := range breaches {
		s := good()
		b.do(s)
		err := Validate(s)
		if !errors.Is(err, b.kind) || !strings.Contains(fmt.Sprint(err), b.text) {
			t.Errorf("case %d: got %v, want %q", i, err, b.text)
		}
	}
}

// All breaches are told at once, in the order of the document.
func TestEveryBreachIsNamed(t *testing.T) {
	s := good()
	s.Version, s.Process.Args, s.Linux.MaskedPaths = "", nil, []string{"x"}
	lines := strings.Split(fmt.Sprint(Validate(s)), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "ociVersion") || !strings.HasPrefix(lines[2], "linux.maskedPaths[0]") {
		t.Errorf("%q", lines)
	}
}

// TestSysctls: only those of a namespace, and no value that carries a second one (CVE-2022-0811).
func TestSysctls(t *testing.T) {
	owned := good().Linux.Namespaces
	for _, c := range []struct{ name, value, text string }{
		{"kernel.core_pattern", "x", "not of a namespace"},
		{"kernel.shmmax", "1+kernel.core_pattern=|/x", "value"},
		{"kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/x", "value"},
		{"kernel.shmmax", "1\x00", "value"},
		{"kernel.shmmax+kernel.core_pattern", "1", "is not a sysctl's name"},
		{"net/../kernel/core_pattern", "1", "is not a sysctl's name"},
		{"net..ipv4", "1", "is not a sysctl's name"},
		{"/net/ipv4/ip_forward", "1", "is not a sysctl's name"},
		{"net/./ipv4", "1", "is not a sysctl's name"},
		{"net.ipv4.conf.eth0 .forwarding", "1", "is not a sysctl's name"},
		{"kernel.hostname", "x", "use hostname"},
		{"vm.overcommit_memory", "1", "not of a namespace"},
		{"netx.foo", "1", "not of a namespace"},
		{"fs.mqueuex", "1", "not of a namespace"},
		{"", "1", "is not a sysctl's name"},
	} {
		s := good()
		s.Linux.Sysctl = map[string]string{c.name: c.value}
		for _, err := range []error{Validate(s), ValidateSysctl(c.name, c.value)} {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("%q = %q: got %v, want %q", c.name, c.value, err, c.text)
			}
		}
	}
	for name, owner := range map[string]specs.LinuxNamespaceType{
		"net.core.somaxconn": "network", "kernel.msgmax": "ipc", "fs.mqueue.queues_max": "ipc", "kernel.domainname": "uts",
	} {
		s := good()
		s.Hostname, s.Linux.Sysctl = "", map[string]string{name: "1"}
		if err := Validate(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Linux.Namespaces = slices.DeleteFunc(slices.Clone(owned), func(n specs.LinuxNamespace) bool { return n.Type == owner })
		if err := Validate(s); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "needs a "+string(owner)+" namespace") {
			t.Errorf("%s without its namespace: %v", name, err)
		}
	}
	s := good()
	s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}
	if err := Validate(s); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("two names of one sysctl: %v", err)
	}
}

func TestSysctlPath(t *testing.T) {
	for in, want := range map[string]string{
		"net.ipv4.ip_forward":                "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/100.forwarding":  "net/ipv4/conf/eth0.100/forwarding",
		"net/ipv4/conf/eth0.100/forwarding":  "net/ipv4/conf/eth0.100/forwarding",
		"kernel.shm_rmid_forced":             "kernel/shm_rmid_forced",
		"kernel":                             "kernel",
		"net.ipv4.conf.all/../x.core_patter": "net/ipv4/conf/all.//.x/core_patter",
	} {
		if got := SysctlPath(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	s, err := Parse([]byte(`{"ociVersion":"1.0.0","futureField":{"a":1},"process":{"cwd":"/","futureToo":true}}`))
	if err != nil || s.Version != "1.0.0" || s.Process.Cwd != "/" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "null", "[]", `{"ociVersion":1}`, `{} {}`, `{"mounts":{}}`, `{"ociVersion":"` + strings.Repeat("1", MaxSize) + `"}`} {
		if s, err := ParseReader(strings.NewReader(bad)); !errors.Is(err, ErrInvalid) || s != nil {
			t.Errorf("%.40q: %+v, %v", bad, s, err)
		}
	}
	if _, err := ParseReader(failing{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a reader's error: %v", err)
	}
}

func TestValidateProcess(t *testing.T) {
	if err := ValidateProcess(good().Process); err != nil {
		t.Error(err)
	}
	for _, p := range []*specs.Process{nil, {}, {Args: []string{"a\x00b"}}} {
		if err := ValidateProcess(p); !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "process") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, os.ErrClosed }

func TestNames(t *testing.T) {
	for i, n := range capabilities {
		if got, ok := Capability(n); !ok || got != i {
			t.Errorf("%s: %d", n, got)
		}
	}
	if n, ok := Capability("CAP_CHECKPOINT_RESTORE"); !ok || n != 40 {
		t.Errorf("the last capability is %d, of linux/capability.h 40", n)
	}
	if got := CapabilityNames(1<<21 | 1<<63); !slices.Equal(got, []string{"CAP_SYS_ADMIN"}) {
		t.Error(got)
	}
	if n, ok := Rlimit("RLIMIT_RTTIME"); !ok || n != 15 || RlimitName(7) != "RLIMIT_NOFILE" || RlimitName(16) != "" {
		t.Error("rlimit numbers are not the kernel's")
	}
}

// FuzzValidate looks for panics: a spec is a stranger's.
func FuzzValidate(f *testing.F) {
	b, err := json.Marshal(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"process":{"capabilities":null,"user":{"additionalGids":[4294967295]}},"linux":{"seccomp":{"syscalls":[{"args":[{}]}]},"uidMappings":[{}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil {
			_ = Validate(s)
		}
	})
}

package nri

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func ptr[T any](v T) *T { return &v }

func TestAdjust(t *testing.T) {
	for _, test := range []struct {
		name string
		ask  func(*api.ContainerAdjustment)
		want func(*specs.Spec)
	}{
		{"arguments", func(a *api.ContainerAdjustment) { a.SetArgs([]string{"echo"}) },
			func(s *specs.Spec) { s.Process.Args = []string{"echo"} }},
		{"environment", func(a *api.ContainerAdjustment) { a.RemoveEnv("A"); a.AddEnv("B", "3"); a.AddEnv("C", "4") },
			func(s *specs.Spec) { s.Process.Env = []string{"B=3", "C=4"} }},
		{"annotations", func(a *api.ContainerAdjustment) { a.RemoveAnnotation("gone"); a.AddAnnotation("new", "1") },
			func(s *specs.Spec) { s.Annotations = map[string]string{"kept": "yes", "new": "1"} }},
		{"an annotation that another plugin removed", func(a *api.ContainerAdjustment) {
			a.RemoveAnnotation("gone")
			a.AddAnnotation("gone", "back")
		}, func(s *specs.Spec) { s.Annotations = map[string]string{"kept": "yes", "gone": "back"} }},
		{"mounts, parents first", func(a *api.ContainerAdjustment) {
			a.RemoveMount("/mnt/old")
			a.AddMount(&api.Mount{Destination: "/x/y", Type: "bind", Source: "/s", Options: []string{"rbind", "rslave"}})
			a.AddMount(&api.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs"})
		}, func(s *specs.Spec) {
			s.Linux.RootfsPropagation = "rslave"
			s.Mounts = []specs.Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/x", Type: "tmpfs", Source: "tmpfs"},
				{Destination: "/x/y", Type: "bind", Source: "/s", Options: []string{"rbind", "rslave"}}}
		}},
		{"limits of resources", func(a *api.ContainerAdjustment) { a.AddRlimit("RLIMIT_CORE", 2, 1) },
			func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: 2, Soft: 1}} }},
		{"devices", func(a *api.ContainerAdjustment) {
			a.RemoveDevice("/dev/old")
			a.AddDevice(&api.LinuxDevice{Path: "/dev/new", Type: "b", Major: 8, Minor: 1})
		}, func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/new", Type: "b", Major: 8, Minor: 1}}
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "b", Major: ptr(int64(8)), Minor: ptr(int64(1)), Access: "rwm"}}
		}},
		{"namespaces", func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "network", Path: "/pins/other"})
			a.RemoveNamespace(&api.LinuxNamespace{Type: "cgroup"})
		}, func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace, Path: "/pins/other"}}
		}},
		{"an oom score that may not be set", func(a *api.ContainerAdjustment) { a.SetLinuxOomScoreAdj(ptr(-900)) },
			func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(-5) }},
		{"sysctls", func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.x", "1") },
			func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.x": "1"} }},
		{"a cgroup", func(a *api.ContainerAdjustment) { a.SetLinuxCgroupsPath("/else/where") },
			func(s *specs.Spec) { s.Linux.CgroupsPath = "/else/where" }},
		{"cpu and memory", func(a *api.ContainerAdjustment) {
			a.SetLinuxCPUShares(7)
			a.SetLinuxCPUSetCPUs("0-1")
			a.SetLinuxMemoryLimit(1 << 20)
			a.SetLinuxPidLimits(40)
			a.AddLinuxHugepageLimit("2MB", 4)
			a.AddLinuxUnified("memory.high", "9")
		}, func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{
				CPU:            &specs.LinuxCPU{Shares: ptr(uint64(7)), Cpus: "0-1"},
				Memory:         &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(1 << 20))},
				Pids:           &specs.LinuxPids{Limit: ptr(int64(40))},
				HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}},
				Unified:        map[string]string{"memory.high": "9"},
			}
		}},
		{"a filter", func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ERRNO", DefaultErrno: &api.OptionalUInt32{Value: 38},
				Architectures: []string{"SCMP_ARCH_X86_64"}, Syscalls: []*api.LinuxSyscall{{Names: []string{"read"}, Action: "SCMP_ACT_ALLOW"}}})
		}, func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ERRNO", DefaultErrnoRet: ptr(uint(38)), Architectures: []specs.Arch{"SCMP_ARCH_X86_64"},
				Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: "SCMP_ACT_ALLOW", Args: []specs.LinuxSeccompArg{}}}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := &NRI{o: Options{Swap: true, OOMScoreMin: -5}}
			a := &api.ContainerAdjustment{}
			test.ask(a)
			got, want := aSpec(), aSpec()
			test.want(want)
			if changed, err := n.adjust(got, a); err != nil || !changed {
				t.Fatalf("changed %v, %v", changed, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestAdjustNothing(t *testing.T) {
	s := aSpec()
	empty := &api.ContainerAdjustment{Hooks: &api.Hooks{}, Linux: &api.LinuxContainerAdjustment{Resources: &api.LinuxResources{Cpu: &api.LinuxCPU{}}}}
	if changed, err := (&NRI{}).adjust(s, empty); changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if d := cmp.Diff(aSpec(), s); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestRemovedFromTheRequest(t *testing.T) {
	s := aSpec()
	left := &api.Container{Env: []string{"B=2"}, Linux: &api.LinuxContainer{}}
	if !remove(s, left) || len(s.Process.Env) != 1 || s.Process.Env[0] != "B=2" || len(s.Linux.Devices) != 0 {
		t.Errorf("left are %q and %v", s.Process.Env, s.Linux.Devices)
	}
	if remove(s, left) {
		t.Error("nothing was removed, but said to be")
	}
}

func TestAdjustRefuses(t *testing.T) {
	for word, test := range map[string]struct {
		kind error
		ask  func(*api.ContainerAdjustment)
	}{
		"OCI hooks": {lifecycle.ErrUnsupported, func(a *api.ContainerAdjustment) {
			a.AddHooks(&api.Hooks{Poststop: []*api.Hook{{Path: "/bin/true"}}})
		}},
		"CDI":           {lifecycle.ErrUnsupported, func(a *api.ContainerAdjustment) { a.AddCDIDevice(&api.CDIDevice{Name: "v/c=d"}) }},
		"blockio class": {lifecycle.ErrUnsupported, func(a *api.ContainerAdjustment) { a.SetLinuxBlockIOClass("gold") }},
		"RDT class":     {lifecycle.ErrUnsupported, func(a *api.ContainerAdjustment) { a.SetLinuxRDTClass("gold") }},
		"cgroups path":  {lifecycle.ErrInvalid, func(a *api.ContainerAdjustment) { a.SetLinuxCgroupsPath("/a/../b") }},
		"destination":   {lifecycle.ErrInvalid, func(a *api.ContainerAdjustment) { a.AddMount(&api.Mount{Destination: "x"}) }},
	} {
		a := &api.ContainerAdjustment{}
		test.ask(a)
		if _, err := (&NRI{}).adjust(aSpec(), a); !errors.Is(err, test.kind) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// What is unsupported below is refused by oci with the field's name; it must get there.
func TestAdjustPassesOnWhatOCIJudges(t *testing.T) {
	a := &api.ContainerAdjustment{}
	a.SetLinuxIOPriority(&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: 2})
	a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_BATCH})
	a.AddLinuxNetDevice("eth1", &api.LinuxNetDevice{Name: "net1"})
	a.SetLinuxRDTClosID("c")
	s := aSpec()
	if _, err := (&NRI{}).adjust(s, a); err != nil {
		t.Fatal(err)
	}
	if s.Process.IOPriority == nil || s.Process.Scheduler == nil || s.Linux.NetDevices["eth1"].Name != "net1" || s.Linux.IntelRdt.ClosID != "c" {
		t.Errorf("%+v %+v", s.Process, s.Linux)
	}
}

func TestResourcesOfAPlugin(t *testing.T) {
	r := &api.LinuxResources{Memory: &api.LinuxMemory{Limit: api.Int64(int64(5)), Swap: api.Int64(int64(6))}, Pids: &api.LinuxPids{Limit: -1}}
	got, err := (&NRI{}).resources(r)
	if err != nil || got.Memory.Swap != nil || got.CPU != nil || *got.Pids.Limit != -1 {
		t.Errorf("without swap accounting: %+v, %v", got, err)
	}
	got, err = (&NRI{o: Options{Swap: true}}).resources(r)
	if err != nil || *got.Memory.Swap != 6 {
		t.Errorf("with swap accounting: %+v, %v", got, err)
	}
	if got, err := (&NRI{}).resources(nil); err != nil || got == nil {
		t.Errorf("none: %v, %v", got, err)
	}
}

func TestMergeLeavesSharedParts(t *testing.T) {
	cpu := &specs.LinuxCPU{Quota: ptr(int64(9))}
	to := &specs.LinuxResources{CPU: cpu, HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 1}}, Unified: map[string]string{"a": "1"}}
	shared := to.HugepageLimits
	merge(to, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "1"}, HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2}}, Unified: map[string]string{"b": "2"}})
	if cpu.Cpus != "" || shared[0].Limit != 1 {
		t.Error("a shared part was changed")
	}
	if *to.CPU.Quota != 9 || to.CPU.Cpus != "1" || to.HugepageLimits[0].Limit != 2 || len(to.Unified) != 2 {
		t.Errorf("%+v", to)
	}
}

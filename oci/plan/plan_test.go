package plan

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/seccomp"
	"github.com/slipway-cri/slipway/oci/spec"
)

var update = flag.Bool("update", false, "write golden files")

func (c planCase) plan() (*Plan, error) {
	if c.exec != nil {
		return Exec(c.spec, c.exec, c.opts)
	}
	return Make(c.spec, c.opts)
}

func TestGolden(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if err := spec.Validate(c.spec); err != nil {
				t.Fatalf("the case's spec is not valid: %v", err)
			}
			p, err := c.plan()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", c.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(p.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), p.String()); d != "" {
				t.Errorf("%s (-update writes it):\n%s", path, d)
			}
			again, err := initconf.Decode(p.Init.Encode())
			if err != nil {
				t.Fatal(err)
			}
			q := *p
			q.Init = *again
			if d := cmp.Diff(p.String(), q.String()); d != "" {
				t.Errorf("after encoding and decoding:\n%s", d)
			}
		})
	}
}

func TestErrorsNameTheField(t *testing.T) {
	cri := allOptions()
	cri.Rootfs = overlay()
	old := cri
	old.Features = Features{}
	few := cri
	few.Features.SeccompActions = []string{"errno"}
	change := func(f func(*specs.Spec)) *specs.Spec { return edit(criSpec(), f) }
	mount := func(m specs.Mount) *specs.Spec {
		return change(func(s *specs.Spec) { s.Mounts = []specs.Mount{m} })
	}
	for _, c := range []struct {
		name string
		spec *specs.Spec
		opts Options
		kind error
		text string
	}{
		{"no process", &specs.Spec{Root: &specs.Root{}}, cri, spec.ErrInvalid, "process"},
		{"no args", change(func(s *specs.Spec) { s.Process.Args = nil }), cri, spec.ErrInvalid, "process.args"},
		{"no root path", criSpec(), allOptions(), spec.ErrInvalid, "root.path: empty path"},
		{"relative root", bareSpec(), allOptions(), spec.ErrInvalid, `root.path: relative path "rootfs"`},
		{"time namespace", change(func(s *specs.Spec) { s.Linux.Namespaces = ns(specs.TimeNamespace) }), cri, spec.ErrUnsupported, "linux.namespaces[0].type"},
		{"twice", change(func(s *specs.Spec) { s.Linux.Namespaces = ns("pid", "pid") }), cri, spec.ErrInvalid, "linux.namespaces[1].type"},
		{"no cgroup namespaces", criSpec(), old, spec.ErrUnsupported, "linux.namespaces[2].type"},
		{"capability", change(func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"CAP_X"} }), cri, spec.ErrInvalid, "process.capabilities.bounding[0]"},
		{"rlimit", change(func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }), cri, spec.ErrInvalid, "process.rlimits[0].type"},
		{"device", change(func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }), cri, spec.ErrInvalid, "linux.devices[0].type"},
		{"propagation", change(func(s *specs.Spec) { s.Linux.RootfsPropagation = "x" }), cri, spec.ErrInvalid, "linux.rootfsPropagation"},
		{"seccomp", change(func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "x"} }), cri, spec.ErrInvalid, "linux.seccomp.defaultAction"},
		{"seccomp action", criSpec(), few, spec.ErrUnsupported, "linux.seccomp.syscalls[0].action"},
		{"remount", mount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"remount"}}), cri, spec.ErrUnsupported, `mounts[0] (/a): options: "remount"`},
		{"rro on an old kernel", change(func(s *specs.Spec) {
			s.Linux.Namespaces = ns(specs.MountNamespace)
			s.Mounts = []specs.Mount{{Destination: "/a", Source: "/b", Options: []string{"rbind", "rro"}}}
		}), old, spec.ErrUnsupported, "mounts[0] (/a): options: recursive"},
		{"bind without source", mount(specs.Mount{Destination: "/a", Type: "bind"}), cri, spec.ErrInvalid, "mounts[0] (/a): source: empty path"},
		{"relative source", mount(specs.Mount{Destination: "/a", Type: "bind", Source: "b"}), cri, spec.ErrInvalid, "source: relative path"},
		{"copy up a bind", mount(specs.Mount{Destination: "/a", Type: "bind", Source: "/b", Options: []string{"tmpcopyup"}}), cri, spec.ErrInvalid, "tmpcopyup on a bind"},
		{"no type", mount(specs.Mount{Destination: "/a"}), cri, spec.ErrInvalid, "mounts[0] (/a): type"},
		{"id-mapped", mount(specs.Mount{Destination: "/a", Type: "bind", Source: "/b", UIDMappings: []specs.LinuxIDMapping{{Size: 1}}}), cri, spec.ErrUnsupported, "uidMappings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Make(c.spec, c.opts)
			if p != nil && err != nil {
				t.Error("a plan beside an error")
			}
			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
}

// CVE-2022-29162: whatever a spec asks for, nothing is inheritable that is not ambient.
func TestInheritableStaysEmpty(t *testing.T) {
	for _, c := range cases() {
		p, err := c.plan()
		if err != nil {
			t.Fatal(err)
		}
		if k := p.Init.Capabilities; k.Inheritable != k.Ambient || k.Ambient != 0 && c.name != "readonly-ambient" {
			t.Errorf("%s: inheritable %#x, ambient %#x", c.name, k.Inheritable, k.Ambient)
		}
	}
}

func TestCapabilitiesStayWithinBounds(t *testing.T) {
	s := criSpec()
	k := []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: k, Effective: k, Permitted: k}
	for _, c := range []struct {
		last    int
		allowed uint64
		want    uint64
	}{{40, ^uint64(0), 1 | 1<<21 | 1<<40}, {39, ^uint64(0), 1 | 1<<21}, {0, ^uint64(0), 1 | 1<<21 | 1<<40}, {40, 1, 1}, {40, 0, 0}} {
		o := allOptions()
		o.Rootfs, o.LastCap, o.AllowedCaps = overlay(), c.last, c.allowed
		p, err := Make(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if k := p.Init.Capabilities; k.Bounding != c.want || k.Effective != c.want || k.Permitted != c.want {
			t.Errorf("last %d, allowed %#x: %+v, want %#x", c.last, c.allowed, k, c.want)
		}
	}
}

// Make trusts nothing to have been validated where capset(2) would refuse.
func TestCapabilitySetsNest(t *testing.T) {
	s := criSpec()
	s.Process.Capabilities = &specs.LinuxCapabilities{
		Permitted: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN", "CAP_KILL"}, Ambient: []string{"CAP_KILL", "CAP_CHOWN"},
	}
	o := allOptions()
	o.Rootfs = overlay()
	p, err := Make(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := (initconf.Capabilities{Permitted: 1, Effective: 1, Ambient: 1, Inheritable: 1}); p.Init.Capabilities != want {
		t.Errorf("%+v, want %+v", p.Init.Capabilities, want)
	}
}

// In a joined UTS namespace the name is the pod's; without one it would be the node's.
func TestHostnameNeedsANewNamespace(t *testing.T) {
	o := allOptions()
	o.Rootfs = overlay()
	for _, c := range []struct {
		ns   []specs.LinuxNamespace
		want string
	}{
		{ns(specs.MountNamespace, specs.UTSNamespace), "h"},
		{joined(ns(specs.MountNamespace), specs.UTSNamespace, "/run/uts"), ""},
		{ns(specs.MountNamespace), ""},
	} {
		s := criSpec()
		s.Hostname, s.Domainname, s.Linux.Namespaces = "h", "h", c.ns
		p, err := Make(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if p.Init.Hostname != c.want || p.Init.Domainname != c.want {
			t.Errorf("%v: hostname %q, domainname %q", c.ns, p.Init.Hostname, p.Init.Domainname)
		}
	}
}

func TestRootPropagation(t *testing.T) {
	for _, c := range []struct {
		field, option string
		want          uint64
	}{
		{"", "ro", unix.MS_PRIVATE | unix.MS_REC}, {"", "rslave", unix.MS_SLAVE | unix.MS_REC}, {"", "shared", unix.MS_SLAVE | unix.MS_REC},
		{"rshared", "ro", unix.MS_SHARED | unix.MS_REC}, {"private", "rslave", unix.MS_PRIVATE},
	} {
		s := bareSpec()
		s.Linux.RootfsPropagation = c.field
		s.Mounts = []specs.Mount{{Destination: "/a", Source: "/a", Options: []string{"rbind", c.option}}}
		o := allOptions()
		o.Bundle = "/b"
		p, err := Make(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Init.Root.Propagation; got != c.want {
			t.Errorf("%q, %q: %s", c.field, c.option, flagNames(got))
		}
	}
}

// The program is compiled once and shared between plans.
func TestSeccompIsCached(t *testing.T) {
	o := allOptions()
	o.Rootfs, o.Seccomp = overlay(), seccomp.NewCache(4)
	a, err := Make(criSpec(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Exec(criSpec(), &specs.Process{Args: []string{"x"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Init.Seccomp) == 0 || &a.Init.Seccomp[0] != &b.Init.Seccomp[0] || o.Seccomp.Len() != 1 {
		t.Errorf("%d and %d bytes, %d programs", len(a.Init.Seccomp), len(b.Init.Seccomp), o.Seccomp.Len())
	}
}

// BenchmarkMakeEncode is the agent's share of planning a CRI container; 150 µs is the budget.
func BenchmarkMakeEncode(b *testing.B) {
	o := allOptions()
	o.Rootfs, o.Seccomp, o.Arch = overlay(), seccomp.NewCache(4), runtime.GOARCH
	s := criSpec()
	b.ReportAllocs()
	for b.Loop() {
		p, err := Make(s, o)
		if err != nil {
			b.Fatal(err)
		}
		if len(p.Init.Encode()) == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	s := criSpec()
	b.ReportAllocs()
	for b.Loop() {
		if err := spec.Validate(s); err != nil {
			b.Fatal(err)
		}
	}
}

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

func TestDefaultFollowsCapabilities(t *testing.T) {
	allows := func(caps []string, name string) bool {
		p, err := Default(withCaps(caps))
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(p.Syscalls, func(c specs.LinuxSyscall) bool {
			return c.Action == specs.ActAllow && len(c.Args) == 0 && slices.Contains(c.Names, name)
		})
	}
	if allows(dockerCaps, "mount") || !allows([]string{"CAP_SYS_ADMIN"}, "mount") || !allows(nil, "read") {
		t.Error("mount must hang on CAP_SYS_ADMIN, read on nothing")
	}
	a, _ := Default(withCaps([]string{"CAP_KILL", "CAP_CHOWN"}))
	b, _ := Default(withCaps([]string{"CAP_CHOWN", "CAP_KILL"}))
	if a != b {
		t.Error("the same set in another order is another profile")
	}
	if p, err := Default(&specs.Spec{}); err != nil || p == nil {
		t.Errorf("a spec without a process: %v", err)
	}
	for i := range 2 * maxDefaults {
		if _, err := Default(withCaps([]string{fmt.Sprint("CAP_", i)})); err != nil {
			t.Fatal(err)
		}
	}
	if len(defaults.by) > maxDefaults {
		t.Errorf("%d profiles kept", len(defaults.by))
	}
}

func TestFromBytes(t *testing.T) {
	docker := `{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
		{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
		"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","comment":"x"},{"name":"write","action":"SCMP_ACT_ALLOW"},
		{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"200.1"}}], "x-unknown": 1}`
	p, err := FromBytes([]byte(docker), withCaps(dockerCaps))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Syscalls) != 2 || p.Syscalls[1].Names[0] != "write" || len(p.Architectures) != 2 {
		t.Errorf("%s: %+v", runtime.GOARCH, p)
	}
	if p, err = FromBytes([]byte(docker), withCaps([]string{"CAP_SYS_ADMIN"})); err != nil || len(p.Syscalls) != 3 {
		t.Errorf("with CAP_SYS_ADMIN: %+v, %v", p, err)
	}
	if p, err := FromBytes([]byte(`{}`), nil); p != nil || err != nil {
		t.Errorf("an empty profile is no filter: %+v, %v", p, err)
	}
	for _, bad := range []string{
		``, `null!`, `[]`, `{"defaultAction":"SCMP_ACT_NONE"}`, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"name":"b","action":"SCMP_ACT_ALLOW"}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":9,"op":"SCMP_CMP_EQ"}]}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","x":"` + strings.Repeat("x", MaxProfileSize) + `"}`,
	} {
		if p, err := FromBytes([]byte(bad), nil); !errors.Is(err, spec.ErrInvalid) || p != nil {
			t.Errorf("%.60q: %+v, %v", bad, p, err)
		}
	}
}

func FuzzFromBytes(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64"}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_KILL"]}}]}`))
	f.Add([]byte(`{"syscalls":[{"includes":null,"args":[null]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := FromBytes(b, nil)
		if err != nil || p == nil {
			return
		}
		if _, _, err := Compile(p, ""); err != nil && !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("accepted, then: %v", err)
		}
	})
}

func TestFromFile(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.json")
	if err := os.WriteFile(good, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["swapon"],"action":"SCMP_ACT_ERRNO"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := FromFile(good, nil); err != nil || p.DefaultAction != specs.ActAllow || len(p.Syscalls) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{fifo, dir, "/dev/zero"} {
		if _, err := FromFile(bad, nil); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := FromFile(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestCheckActions(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActLog}}}
	if err := CheckActions(s, nil); err != nil {
		t.Error(err)
	}
	if err := CheckActions(s, []string{"errno", "log"}); err != nil {
		t.Error(err)
	}
	if err := CheckActions(s, []string{"errno"}); !errors.Is(err, spec.ErrUnsupported) || !strings.HasPrefix(err.Error(), "syscalls[0].action") {
		t.Error(err)
	}
	if err := CheckActions(s, []string{"log"}); !errors.Is(err, spec.ErrUnsupported) || !strings.HasPrefix(err.Error(), "defaultAction") {
		t.Error(err)
	}
}

package cdi

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

const gpu = `{
  "cdiVersion": "0.7.0", "kind": "vendor.com/gpu",
  "containerEdits": {"env": ["DRIVER=1", "PATH=/gpu"], "mounts": [{"hostPath": "/lib/gpu.so", "containerPath": "/lib/gpu.so", "options": ["rbind", "ro"]}]},
  "devices": [
    {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "type": "c", "major": 200, "minor": 1, "permissions": "rw"}]}},
    {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu1", "hostPath": "/dev/zero"}], "additionalGids": [0, 44],
      "hooks": [{"hookName": "createContainer", "path": "/usr/bin/hook", "args": ["hook", "x"]}]}}
  ]}`

const nic = `# a comment
cdiVersion: "1.0.0"
kind: vendor.com/nic
devices:
- name: eth1
  containerEdits:
    env: [NIC=eth1]
    deviceNodes:
    - {path: /dev/nic, type: c, major: 201, minor: 0, fileMode: 0640}
`

// injector has files in the directories "etc" and "run", "DIR/NAME" to content.
func injector(t *testing.T, files map[string]string) Injector {
	t.Helper()
	root := t.TempDir()
	in := Injector{Dirs: []string{filepath.Join(root, "etc"), filepath.Join(root, "run"), filepath.Join(root, "missing")}}
	for _, d := range in.Dirs[:2] {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func emptySpec() *specs.Spec {
	return &specs.Spec{
		Process: &specs.Process{Env: []string{"PATH=/bin", "A=b"}, User: specs.User{UID: 1000, GID: 1001}},
		Mounts:  []specs.Mount{{Destination: "/proc"}, {Destination: "/lib/deep/x"}},
		Linux:   &specs.Linux{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}},
	}
}

func TestApply(t *testing.T) {
	in := injector(t, map[string]string{"etc/gpu.json": gpu, "run/nic.yaml": nic, "etc/README": "no file of CDI", "etc/bad.json": "{"})
	s := emptySpec()
	if err := in.Apply(s, []string{"vendor.com/gpu=0", "vendor.com/nic=eth1", "vendor.com/gpu=1"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"PATH=/gpu", "A=b", "DRIVER=1", "NIC=eth1"}, s.Process.Env); d != "" {
		t.Errorf("environment: %s", d)
	}
	var mounts []string
	for _, m := range s.Mounts {
		mounts = append(mounts, strings.TrimSpace(m.Destination+" "+m.Type+" "+strings.Join(m.Options, ",")))
	}
	if d := cmp.Diff([]string{"/proc", "/lib/gpu.so  rbind,ro", "/lib/deep/x"}, mounts); d != "" {
		t.Errorf("mounts, those of a file once and parents first: %s", d)
	}
	uid, gid := uint32(1000), uint32(1001)
	mode, zero := os.FileMode(0o640), zeroMode(t)
	want := []specs.LinuxDevice{
		{Path: "/dev/gpu0", Type: "c", Major: 200, Minor: 1, UID: &uid, GID: &gid},
		{Path: "/dev/nic", Type: "c", Major: 201, FileMode: &mode, UID: &uid, GID: &gid},
		{Path: "/dev/gpu1", Type: "c", Major: 1, Minor: 5, FileMode: &zero, UID: &uid, GID: &gid},
	}
	if d := cmp.Diff(want, s.Linux.Devices); d != "" {
		t.Errorf("devices: %s", d)
	}
	var access []string
	for _, r := range s.Linux.Resources.Devices {
		access = append(access, r.Access)
	}
	if !slices.Equal(access, []string{"rwm", "rw", "rwm", "rwm"}) {
		t.Errorf("rules: %q", access)
	}
	if g := s.Process.User.AdditionalGids; !slices.Equal(g, []uint32{44}) || len(s.Hooks.CreateContainer) != 1 {
		t.Errorf("groups %v, hooks %+v", g, s.Hooks)
	}
}

// zeroMode is the mode of this machine's /dev/zero, which a file without one takes.
func zeroMode(t *testing.T) os.FileMode {
	t.Helper()
	info, err := os.Stat("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestMountsInUserNamespace(t *testing.T) {
	s := emptySpec()
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace}}
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 65536, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
	if err := injector(t, map[string]string{"etc/gpu.json": gpu}).Apply(s, []string{"vendor.com/gpu=0"}); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/lib/gpu.so" })
	want := specs.Mount{Destination: "/lib/gpu.so", Source: "/lib/gpu.so", Options: []string{"rbind", "ro"}, UIDMappings: s.Linux.UIDMappings, GIDMappings: s.Linux.GIDMappings}
	if d := cmp.Diff(want, s.Mounts[i]); d != "" {
		t.Error(d)
	}
}

func TestNoDirectories(t *testing.T) {
	if err := (Injector{}).Apply(nil, nil); err != nil {
		t.Errorf("nothing asked for: %v", err)
	}
	if err := (Injector{}).Apply(emptySpec(), []string{"vendor.com/gpu=0"}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a device of nowhere: %v", err)
	}
}

func TestLaterDirectoryWins(t *testing.T) {
	in := injector(t, map[string]string{"etc/nic.yaml": nic, "run/nic.yaml": strings.Replace(nic, "NIC=eth1", "NIC=run", 1)})
	s := emptySpec()
	if err := in.Apply(s, []string{"vendor.com/nic=eth1"}); err != nil || !slices.Contains(s.Process.Env, "NIC=run") {
		t.Errorf("%v %q", err, s.Process.Env)
	}
}

func TestUnresolvable(t *testing.T) {
	for what, tc := range map[string]struct {
		files map[string]string
		says  string
	}{
		"nothing there":         {nil, "in no file of"},
		"another device":        {map[string]string{"etc/a.yaml": strings.Replace(nic, "name: eth1", "name: eth2", 1)}, "in no file of"},
		"twice in one place":    {map[string]string{"etc/a.yaml": nic, "etc/b.yaml": nic}, "conflicting"},
		"broken file":           {map[string]string{"etc/a.yaml": "kind: ["}, "a.yaml"},
		"unknown field":         {map[string]string{"etc/a.yaml": nic + "    surprise: 1\n"}, "surprise"},
		"field of a later one":  {map[string]string{"etc/a.yaml": strings.Replace(nic, "1.0.0", "0.6.0", 1) + "    additionalGids: [44]\n"}, "at least v0.7.0"},
		"unknown version":       {map[string]string{"etc/a.yaml": strings.Replace(nic, "1.0.0", "2.0.0", 1)}, "version"},
		"variable, no name":     {map[string]string{"etc/a.yaml": strings.Replace(nic, "NIC=eth1", "=eth1", 1)}, "environment"},
		"kind without a vendor": {map[string]string{"etc/a.yaml": strings.Replace(nic, "vendor.com/nic", "nic", 1)}, "vendor"},
		"empty entry":           {map[string]string{"etc/a.yaml": nic + "    mounts: [null]\n"}, "empty entry"},
	} {
		s := emptySpec()
		err := injector(t, tc.files).Apply(s, []string{"vendor.com/nic=eth1"})
		if !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), "vendor.com/nic=eth1") || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word of %q", what, err, tc.says)
		}
		if d := cmp.Diff(emptySpec(), s); d != "" {
			t.Errorf("%s: edited all the same: %s", what, d)
		}
	}
	in := injector(t, map[string]string{"etc/a.json": strings.ReplaceAll(gpu, "/dev/zero", "/dev/gone")})
	if err := in.Apply(emptySpec(), []string{"vendor.com/gpu=1"}); !errors.Is(err, os.ErrNotExist) || !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a node that is gone: %v", err)
	}
}

func TestNames(t *testing.T) {
	got, err := Names([]string{"a.com/x=1", "a.com/x=1"}, map[string]string{
		"cdi.k8s.io/plugin_1": "a.com/x=2,a.com/x=1", "cdi.k8s.io/another": "b.com/y=z:0", "other": "no device",
	})
	if want := []string{"a.com/x=1", "b.com/y=z:0", "a.com/x=2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "x", "a.com/x", "a.com/x=", "/x=1", "a.com/=1", "1a/x=1", "a.com/x=1-", "a.com/../x=1", "a.com/x=1/2", "a.com/x=\n1"} {
		if _, err := Names([]string{"a.com/x=1", bad}, nil); !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), "config.CDI_devices[1].name") {
			t.Errorf("%.20q: %v", bad, err)
		}
		_, err := Names(nil, map[string]string{"cdi.k8s.io/p": "a.com/x=1," + bad})
		if !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), `config.annotations["cdi.k8s.io/p"]`) {
			t.Errorf("annotation with %.20q: %v", bad, err)
		}
	}
}

// What a container that asks for one of many devices pays: files read, parsed and checked anew.
func BenchmarkApply(b *testing.B) {
	dir := b.TempDir()
	for i := range 10 {
		name := filepath.Join(dir, string(rune('a'+i))+".json")
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(gpu, "vendor.com", "vendor"+string(rune('a'+i))+".com")), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	in := Injector{Dirs: []string{dir}}
	for b.Loop() {
		if err := in.Apply(emptySpec(), []string{"vendorc.com/gpu=0"}); err != nil {
			b.Fatal(err)
		}
	}
}

package mounts

import (
	"errors"
	"flag"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() *initconf.Config {
	return &initconf.Config{
		Root: initconf.Root{LowerBase: "/low", Lower: []string{"one", "t:w,o"}, Upper: "/up", Work: "/work", OverlayOptions: "volatile", Readonly: true},
		Mounts: []initconf.Mount{
			{Type: "proc", Destination: "/proc", Flags: unix.MS_NOSUID},
			{Type: "tmpfs", Destination: "/dev", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME | unix.MS_RDONLY, Data: `mode=755,context="a:b,c"`},
			{Type: "bind", Source: "/src/file", Destination: "/etc/new/hosts", Flags: unix.MS_BIND | unix.MS_RDONLY, Propagation: []uint64{unix.MS_PRIVATE | unix.MS_REC}},
			{Type: "bind", Source: "/src/dir", Destination: "/vol", Flags: unix.MS_BIND | unix.MS_REC, Propagation: []uint64{unix.MS_SHARED | unix.MS_REC}, RecAttrSet: unix.MOUNT_ATTR_RDONLY},
			{Type: "bind", Source: "/src/none", Destination: "/opt", Flags: unix.MS_BIND, Optional: true},
			{Type: "tmpfs", Destination: "/etc", CopyUp: true},
			{Type: "cgroup", Destination: "/sys/fs/cgroup", CgroupView: true, Flags: unix.MS_RDONLY},
		},
		Devices:       []initconf.Device{{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3, Mode: 0o666}, {Path: "/dev/net/tun", Type: 'c', Major: 10, Minor: 200, Mode: 0o600, UID: 5}},
		DevSymlinks:   true,
		ReadonlyPaths: []string{"/proc/sys", "/proc/none"},
		MaskedPaths:   []string{"/proc/kcore", "/sys/firmware", "/proc/acpi", "/proc/none"},
	}
}

var hybrid = Cgroups{
	Membership: []byte("2:cpu,cpuacct:/pod/a\n1:name=systemd:/\n0::/pod/a\n"),
	Mountinfo: []byte(`31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd
34 31 0:31 /pod /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`),
}

func withCgroups(f *fake) *fake {
	for _, p := range []string{"/sys/fs/cgroup/cpu,cpuacct/pod/a", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified/a"} {
		f.present[p] = "dir"
	}
	return f
}

func execute(f *fake, c *initconf.Config, cg Cgroups) error {
	x := New(f, cg)
	if err := x.Prepare(c); err != nil {
		return err
	}
	return x.Finish(c)
}

func TestOperations(t *testing.T) {
	for _, tc := range []struct {
		name string
		conf func() *initconf.Config
		cg   Cgroups
	}{
		{"hybrid", sample, hybrid},
		{"v2", func() *initconf.Config {
			c := sample()
			c.Root = initconf.Root{Bind: "/rootfs", Propagation: unix.MS_SHARED | unix.MS_REC}
			return c
		}, Cgroups{Membership: []byte("0::/pod\n")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := withCgroups(newFake())
			if err := execute(f, tc.conf(), tc.cg); err != nil {
				t.Fatalf("%v after\n%s", err, strings.Join(f.ops, "\n"))
			}
			got := strings.Join(f.ops, "\n") + "\n"
			golden := "testdata/" + tc.name + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("operations:\n%s", got)
			}
		})
	}
}

// TestEveryFailure refuses each operation in turn: nothing follows it but the fallbacks
// that are meant, the error names step and path, and the old root is never left before
// everything else is done.
func TestEveryFailure(t *testing.T) {
	whole := withCgroups(newFake())
	if err := execute(whole, sample(), hybrid); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(whole.ops); n++ {
		f := withCgroups(newFake())
		f.failAt = n
		err := execute(f, sample(), hybrid)
		last := f.ops[len(f.ops)-1]
		if strings.HasPrefix(whole.ops[n-1], "make @/dev/n") { // device nodes fall back to a bind
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, eperm) || e.Step == "" || e.Path == "" {
			t.Errorf("operation %d (%s): %v", n, whole.ops[n-1], err)
		}
		if len(f.ops) != n {
			t.Errorf("operation %d (%s) failed, and yet: %s", n, whole.ops[n-1], last)
		}
	}
}

// TestDeviceFallback: where nodes may not be made the host's own is bound, if it is the
// same device.
func TestDeviceFallback(t *testing.T) {
	c := &initconf.Config{Root: initconf.Root{Bind: "/rootfs"}, Devices: []initconf.Device{{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3}}}
	for kind, want := range map[string]error{"char 1:3": nil, "char 8:0": errOther} {
		f := newFake()
		f.present["/dev/null"] = kind
		for f.failAt = 1; ; f.failAt++ {
			trial := newFake()
			if _ = execute(trial, c, Cgroups{}); strings.HasPrefix(trial.ops[f.failAt-1], "make @/dev/null") {
				break
			}
		}
		err := execute(f, c, Cgroups{})
		if !errors.Is(err, want) || want == nil && (err != nil || !strings.Contains(strings.Join(f.ops, "\n"), "attach clone of /dev/null at @/dev/null")) {
			t.Errorf("%s: %v\n%s", kind, err, strings.Join(f.ops, "\n"))
		}
	}
}

// TestForeignNull: a mask must never be a mount of anything but the null device (CVE-2025-31133).
func TestForeignNull(t *testing.T) {
	for _, kind := range []string{"file", "char 1:5", "link /proc/sysrq-trigger"} {
		f := newFake()
		f.present["/dev/null"] = kind
		err := execute(f, &initconf.Config{Root: initconf.Root{Bind: "/rootfs"}, MaskedPaths: []string{"/proc/kcore"}}, Cgroups{})
		if !errors.Is(err, errNotNull) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestLinksOnTheWay(t *testing.T) {
	for _, tc := range []struct {
		at, target, dest, made string
		err                    error
	}{
		{"@/run", "var/run", "/run/x", "@/var/run/x", nil},
		{"@/run", "/var/run", "/run/x", "@/var/run/x", nil},
		{"@/run", "../../../../var", "/run/x", "@/var/x", nil},
		{"@/run", "run", "/run/x", "", syscall.ELOOP},
		{"@/dev/x", "/etc", "/dev/x/y", "", syscall.ELOOP},
		{"@/proc/x", "/etc", "/run/../proc/x/y", "", syscall.ELOOP},
	} {
		f := newFake()
		f.present[tc.at] = "link " + tc.target
		c := &initconf.Config{Root: initconf.Root{Bind: "/rootfs"}, Mounts: []initconf.Mount{{Type: "bind", Source: "/src/dir", Destination: tc.dest, Flags: unix.MS_BIND}}}
		err := execute(f, c, Cgroups{})
		if !errors.Is(err, tc.err) || tc.err == nil && (err != nil || f.present[tc.made] != "dir") {
			t.Errorf("%s → %s, %s: %v\n%s", tc.at, tc.target, tc.dest, err, strings.Join(f.ops, "\n"))
		}
	}
}

func TestRefusedMounts(t *testing.T) {
	for name, m := range map[string]initconf.Mount{
		"the root":      {Type: "tmpfs", Destination: "/a/.."},
		"unknown flags": {Type: "tmpfs", Destination: "/a", Flags: unix.MS_REMOUNT},
	} {
		if err := execute(newFake(), &initconf.Config{Root: initconf.Root{Bind: "/rootfs"}, Mounts: []initconf.Mount{m}}, Cgroups{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	many := &initconf.Config{Root: initconf.Root{LowerBase: "/low", Lower: strings.Split(strings.Repeat("a-layer-of-a-long-name/", 300), "/"), Upper: "/up"}}
	if err := execute(newFake(), many, Cgroups{}); !errors.Is(err, syscall.E2BIG) {
		t.Errorf("options longer than a page: %v", err)
	}
}

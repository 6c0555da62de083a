package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/oci/kernel/probe"
)

func find(t *testing.T, items []Item, name string) Item {
	t.Helper()
	for _, i := range items {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no item %q in %+v", name, items)
	return Item{}
}

func good() probe.Features {
	return probe.Features{
		Release: "6.18", Openat2: true, MountAPI: true, MountSetattr: true, Pidfd: true, PidfdGetInfo: true, CloseRange: true,
		CloneIntoCgroup: true, CgroupNS: true, UserNS: true, Overlay: true, Seccomp: true, AppArmor: true, SELinux: true,
		Cgroup: probe.CgroupV2, Controllers: []string{"cpu", "cpuset", "hugetlb", "memory", "pids"}, Bounding: 1<<41 - 1,
	}
}

func TestKernel(t *testing.T) {
	for _, i := range kernel(good()) {
		if i.State != OK || i.Cost != "" {
			t.Errorf("%+v", i)
		}
	}
	f := good()
	f.Cgroup, f.Bounding, f.Openat2 = probe.CgroupHybrid, f.Bounding&^(1<<24|1<<21), false
	items := kernel(f)
	if i := find(t, items, "cgroup v2"); i.State != Limited || !strings.Contains(i.Cost, "hybrid") {
		t.Errorf("%+v", i)
	}
	if i := find(t, items, "CAP_SYS_RESOURCE"); i.State != Limited || i.Cost == "" {
		t.Errorf("%+v", i)
	}
	if i := find(t, items, "CAP_SYS_ADMIN"); i.State != Missing {
		t.Errorf("%+v", i)
	}
	if i := find(t, items, "openat2 (Linux 5.6)"); i.State != Missing || Ready(items) {
		t.Errorf("%+v", i)
	}
}

func TestMachine(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/sys/net/ipv4/ip_forward", "0\n")
	write("var/lib/slipway/x", "")
	if err := os.Chmod(filepath.Join(root, "var/lib/slipway"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("etc/cni/net.d/10-x.conflist", "{}")
	c := config.Default()
	items := machine(root, c)
	for name, want := range map[string]State{
		"IPv4 forwarding": Limited, "IPv6 forwarding": Limited, "root directory": Limited, "state directory": OK, "pod network": Missing,
	} {
		if i := find(t, items, name); i.State != want {
			t.Errorf("%+v, want %s", i, want)
		}
	}
	write("opt/cni/bin/bridge", "")
	if i := find(t, machine(root, c), "pod network"); i.State != OK || i.Found != "CNI, 10-x.conflist" {
		t.Errorf("%+v", i)
	}
	c.Network.CNIConfDir = config.None
	if i := find(t, machine(root, c), "pod network"); i.State != OK || i.Found != "built-in bridge" {
		t.Errorf("%+v", i)
	}
}

package namespaces

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
)

func TestSysctlNames(t *testing.T) {
	for name, want := range map[string]bool{
		"net/ipv4/ip_forward": true, "net/ipv4/conf/eth0.100/rp_filter": true, "kernel/shmmax": true,
		"": false, "/kernel/x": false, "kernel//x": false, "kernel/../../self/attr/exec": false, "./x": false,
		"kernel/a b": false, "kernel/a\nb": false, "kernel/x/": false,
	} {
		if sysctlName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	err := Sysctls(-1, []initconf.Sysctl{{Path: "../x", Value: "1"}})
	if !errors.Is(err, errSysctl) {
		t.Errorf("%v", err)
	}
}

// TestJoinMissing: all paths are opened before the first is joined.
func TestJoinMissing(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	err := Join([]initconf.Join{{Flag: unix.CLONE_NEWNET, Path: "/proc/self/ns/net"}, {Flag: unix.CLONE_NEWIPC, Path: none}})
	e, ok := errors.AsType[*fs.PathError](err)
	if !ok || e.Path != none || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
	err = Join([]initconf.Join{{Flag: unix.CLONE_NEWNET, Path: "/dev/null"}})
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("not a namespace: %v", err)
	}
}

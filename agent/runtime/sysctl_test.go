package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestCheckSysctls(t *testing.T) {
	own := SandboxSpec{Network: true, IPC: true, UTS: true}
	for _, tc := range []struct {
		what, name, value string
		spec              SandboxSpec
		refused           string // part of the reason; "" = accepted
	}{
		{"network", "net.ipv4.ip_unprivileged_port_start", "0", own, ""},
		{"slash form", "net/ipv4/ip_local_port_range", "1024\t65000", own, ""},
		{"IPC", "kernel.shm_rmid_forced", "1", own, ""},
		{"message queues", "fs.mqueue.msg_max", "100", own, ""},
		{"domain name", "kernel.domainname", "example", own, ""},
		{"the node's", "vm.swappiness", "10", own, "not of a namespace"},
		{"the node's kernel", "kernel.panic", "10", own, "not of a namespace"},
		{"host name", "kernel.hostname", "x", own, "use hostname"},
		{"two values in one", "net.ipv4.tcp_syncookies", "1+kernel.core_pattern=|/x", own, "value"},
		{"network of the node", "net.ipv4.tcp_syncookies", "1", SandboxSpec{IPC: true}, "no network namespace"},
		{"IPC of the node", "kernel.shmmax", "1", SandboxSpec{Network: true, UTS: true}, "no ipc namespace"},
	} {
		s := tc.spec
		s.Sysctls = map[string]string{tc.name: tc.value}
		err := s.CheckSysctls("config.linux.sysctls")
		switch {
		case tc.refused == "" && err != nil:
			t.Errorf("%s: %v", tc.what, err)
		case tc.refused == "":
		case !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), tc.refused) ||
			!strings.Contains(err.Error(), `config.linux.sysctls["`+tc.name+`"]`):
			t.Errorf("%s: got %v, want %q", tc.what, err, tc.refused)
		}
	}
	s := own
	s.Sysctls = map[string]string{"net.ipv4.tcp_syncookies": "1", "net/ipv4/tcp_syncookies": "0"}
	if err := s.CheckSysctls("f"); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("one sysctl twice: %v", err)
	}
}

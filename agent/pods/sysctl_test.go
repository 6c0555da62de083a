package pods

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// A sysctl that would change the node is refused before anything is made.
func TestRunRefusesTheNodesSysctls(t *testing.T) {
	const node, pod = runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_POD
	for _, tc := range []struct {
		name         string
		network, ipc runtimeapi.NamespaceMode
		ok           bool
	}{
		{"net.ipv4.ip_unprivileged_port_start", pod, pod, true},
		{"net.ipv4.ip_unprivileged_port_start", node, pod, false},
		{"kernel.shmmax", node, pod, true},
		{"kernel.shmmax", pod, node, false},
		{"vm.swappiness", pod, pod, false},
	} {
		f := newFixture(t)
		cfg := config("web")
		cfg.Linux = &runtimeapi.LinuxPodSandboxConfig{
			Sysctls: map[string]string{tc.name: "1"},
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: tc.network, Ipc: tc.ipc},
			},
		}
		_, err := f.Run(t.Context(), cfg, "")
		if tc.ok {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), `config.linux.sysctls["`+tc.name+`"]`) {
			t.Errorf("%s with network %s, IPC %s: %v", tc.name, tc.network, tc.ipc, err)
		}
		if len(f.k.log) != 0 {
			t.Errorf("%s: done all the same: %v", tc.name, f.k.log)
		}
	}
}

package runtime

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/spec"
)

// CheckSysctls refuses what would change the node instead of the pod: sysctls that belong to no
// namespace, and those of a namespace that s does not have new. field is the request's map, which
// the error (lifecycle.ErrInvalid) names with the key.
func (s *SandboxSpec) CheckSysctls(field string) error {
	own := map[specs.LinuxNamespaceType]bool{
		specs.NetworkNamespace: s.Network, specs.IPCNamespace: s.IPC, specs.UTSNamespace: s.UTS,
	}
	seen := make(map[string]string, len(s.Sysctls))
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		bad := func(reason any) error {
			return fmt.Errorf("%s[%q]: %v: %w", field, name, reason, lifecycle.ErrInvalid)
		}
		if err := spec.ValidateSysctl(name, s.Sysctls[name]); err != nil {
			return bad(err)
		}
		path := spec.SysctlPath(name)
		if owner, _ := spec.SysctlNamespace(path); !own[owner] {
			return bad(fmt.Sprintf("the pod has no %s namespace of its own: it would change the node", owner))
		}
		if other, twice := seen[path]; twice {
			return bad(fmt.Sprintf("the same sysctl as %q", other))
		}
		seen[path] = name
	}
	return nil
}

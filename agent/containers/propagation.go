package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// checkPropagation refuses mounts that ask for a propagation which the node's mount below
// them does not have: the kernel would make them, and nothing would ever propagate. Private
// mounts, which nearly all are, cost nothing.
func checkPropagation(mounts []*runtimeapi.Mount, find func(path string) (optional string, err error)) error {
	for i, m := range mounts {
		var wanted []string
		kind := "shared"
		switch m.GetPropagation() {
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			wanted = []string{"shared"}
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			wanted, kind = []string{"shared", "master"}, "shared or a slave"
		default:
			continue
		}
		if m.GetImage() != nil {
			continue // refused by name where the spec is made
		}
		optional, err := find(m.GetHostPath())
		if err != nil {
			return fmt.Errorf("config.mounts[%d].host_path: %w", i, err)
		}
		if !hasPropagation(optional, wanted) {
			return fmt.Errorf("config.mounts[%d].propagation: %s of %q: the node's mount there is not %s: %w",
				i, m.GetPropagation(), m.GetHostPath(), kind, lifecycle.ErrInvalid)
		}
	}
	return nil
}

// hasPropagation looks into the optional fields of a line of mountinfo (proc_pid_mountinfo(5)).
func hasPropagation(optional string, wanted []string) bool {
	for field := range strings.FieldsSeq(optional) {
		for _, w := range wanted {
			if strings.HasPrefix(field, w+":") {
				return true
			}
		}
	}
	return false
}

// mountOf gives the optional fields of the mount that path, links followed, is on.
func mountOf(path string) (string, error) { return mountOfIn("/proc/self/mountinfo", path) }

func mountOfIn(table, path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(table)
	if err != nil {
		return "", err
	}
	defer f.Close()
	list, err := mountinfo.GetMountsFromReader(f, mountinfo.ParentsFilter(real))
	if err != nil {
		return "", err
	}
	var best *mountinfo.Info
	for _, m := range list { // of two on one directory the later one is on top
		if best == nil || len(m.Mountpoint) >= len(best.Mountpoint) {
			best = m
		}
	}
	if best == nil {
		return "", fmt.Errorf("no mount of the node holds %q", real)
	}
	return best.Optional, nil
}

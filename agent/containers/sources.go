package containers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// makeSources makes a directory, 0755, of each host_path that is not there, as the field's runtimes do:
// kubelet passes on the hostPath volumes of no declared type as they are. What is made belongs to the
// node and stays. A dangling link is not followed; mounting it fails.
func makeSources(mounts []*runtimeapi.Mount) error {
	for i, m := range mounts {
		if m.GetImage().GetImage() != "" {
			continue
		}
		_, err := os.Lstat(m.GetHostPath())
		if errors.Is(err, fs.ErrNotExist) {
			err = os.MkdirAll(m.GetHostPath(), 0o755)
		}
		if err != nil {
			return fmt.Errorf("config.mounts[%d].host_path: %w", i, err)
		}
	}
	return nil
}

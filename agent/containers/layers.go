package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-cri/slipway/agent/images"
)

// likeImage gives the writable layer's root the mode and owner of the image's: overlayfs shows the
// upper directory's as those of "/".
func likeImage(root *images.Rootfs, upper string) error {
	top := filepath.Join(root.Base, root.Lower[0])
	info, err := os.Stat(top)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("stat %s: no owner", top)
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return os.Chmod(upper, info.Mode())
}

package pods

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix" // mount and unmount have no other door
)

// Tmpfs is the Shm of the real kernel.
type Tmpfs struct{}

// Mount makes dir a tmpfs of at most size bytes, writable by all, as /dev/shm is.
func (Tmpfs) Mount(dir string, size int64) error {
	options := fmt.Sprintf("mode=1777,size=%d", size)
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: dir, Err: err}
	}
	return nil
}

// Unmount takes the tmpfs away; containers that still see it keep it alive for themselves. It is no error
// where none is mounted.
func (Tmpfs) Unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}

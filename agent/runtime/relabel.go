package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix" // lsetxattr(2) and its errors

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// neverRelabelled are directories of the node whose programs would stop working under a container's label.
var neverRelabelled = []string{
	"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root", "/run",
	"/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp",
}

// Relabel gives path and all below it an SELinux label, links not followed. A file system without
// labels is no error; a directory that the node itself lives by is lifecycle.ErrInvalid.
func Relabel(path, label string) error {
	return relabel(path, label, func(p string) error {
		return unix.Lsetxattr(p, "security.selinux", append([]byte(label), 0), 0)
	})
}

func relabel(path, label string, set func(string) error) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, p := range []string{filepath.Clean(path), real} {
		if slices.Contains(neverRelabelled, p) {
			return fmt.Errorf("%s is not to be relabelled: the node's own programs need its label: %w", p, lifecycle.ErrInvalid)
		}
	}
	return filepath.WalkDir(real, func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = set(p)
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EROFS):
			return nil
		case errors.Is(err, fs.ErrNotExist) && p != real:
			return nil // files come and go
		}
		return fmt.Errorf("label %s %q: %w", p, label, err)
	})
}

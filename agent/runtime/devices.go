package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix" // device numbers of an inode

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxDevices bounds the nodes that one directory of devices may stand for.
const maxDevices = 4096

// notShared are names below /dev of which each container has its own.
var notShared = map[string]bool{
	"pts": true, "ptmx": true, "console": true, "shm": true, "fd": true, "mqueue": true, ".udev": true, ".lxc": true,
}

// HostDevices lists the device nodes below /dev that a privileged container gets.
func HostDevices() ([]specs.LinuxDevice, error) {
	return devicesBelow("/dev", func(name string) bool { return !notShared[name] })
}

// Device resolves a path of a request: a device node or a link to one gives that one, a directory
// all nodes below it, with Path as seen from hostPath.
func Device(hostPath string) ([]specs.LinuxDevice, error) {
	info, err := os.Stat(hostPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return devicesBelow(hostPath, func(string) bool { return true })
	}
	d, ok, err := device(hostPath)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%s is not a device node: %w", hostPath, lifecycle.ErrInvalid)
	}
	return []specs.LinuxDevice{d}, nil
}

func devicesBelow(dir string, enter func(name string) bool) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nodes come and go
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			if path != dir && !enter(e.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeDevice == 0 || !enter(e.Name()) || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		d, ok, err := device(path)
		if err != nil || !ok {
			return err
		}
		if len(out) >= maxDevices {
			return fmt.Errorf("%s holds more than %d devices: %w", dir, maxDevices, lifecycle.ErrInvalid)
		}
		out = append(out, d)
		return nil
	})
	return out, err
}

// device describes the node at path, links followed; false where it is none.
func device(path string) (specs.LinuxDevice, bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return specs.LinuxDevice{}, false, nil
		}
		return specs.LinuxDevice{}, false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
	if kind == "" {
		return specs.LinuxDevice{}, false, nil
	}
	mode, uid, gid := os.FileMode(st.Mode&0o7777), st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: path, Type: kind, FileMode: &mode, UID: &uid, GID: &gid,
		Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
	}, true, nil
}

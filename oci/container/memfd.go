package container

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// InitMemfd copies the program at path into a sealed memfd: what runs as slipway-init is
// then a file that nobody can write to, whatever a container does with /proc/self/exe
// (CVE-2019-5736). Close-on-exec; the caller's to close; good for any number of launches.
func InitMemfd(path string) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	// MFD_EXEC is Linux 6.3's; before it a memfd is always executable, and the flag EINVAL.
	dst, err := memfd("slipway-init", unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		dst, err = memfd("slipway-init", 0)
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return nil, fmt.Errorf("copy %q into a memfd: %w", path, err)
	}
	if err := seal(dst); err != nil {
		dst.Close()
		return nil, err
	}
	return dst, nil
}

// ConfigMemfd puts an encoded initconf.Config into a sealed memfd, for
// Launch.ConfigFile. The caller's to close.
func ConfigMemfd(config []byte) (*os.File, error) {
	f, err := memfd("slipway-config", 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(config); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the configuration memfd: %w", err)
	}
	if err := seal(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func memfd(name string, flags int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memfd:"+name), nil
}

func seal(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
}

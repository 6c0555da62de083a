package mounts

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kernel"
)

// maxDepth bounds directories below directories; each level holds two descriptors.
const maxDepth = 64

// copyUp copies what an image has below the directory from into the new file system to:
// directories, files, links as links, with mode and owner. Nothing is followed
// (CVE-2022-23648) and no other file system is entered. Devices and sockets are left out.
func copyUp(from, to int) error {
	st, err := kernel.Stat(from)
	if err != nil {
		return err
	}
	dir, err := kernel.Open(from, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer kernel.Close(dir)
	// The descriptor of a new mount is for look-ups only (fsmount(2)).
	into, err := kernel.Open(to, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer kernel.Close(into)
	if err := copyOwner(into, &st); err != nil {
		return err
	}
	return copyEntries(dir, into, st.Dev, 0)
}

func copyEntries(from, to int, dev uint64, depth int) error {
	if depth > maxDepth {
		return syscall.ELOOP
	}
	names, err := kernel.Names(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(from, to, name, dev, depth); err != nil {
			return &fs.PathError{Op: "copy up", Path: name, Err: err}
		}
	}
	return nil
}

func copyEntry(from, to int, name string, dev uint64, depth int) error {
	at, err := kernel.Open(from, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRoot)
	if err != nil {
		return err
	}
	defer kernel.Close(at)
	st, err := kernel.Stat(at)
	if err != nil || st.Dev != dev {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := kernel.Readlinkat(at, "")
		if err != nil {
			return err
		}
		if err := kernel.Symlinkat(target, to, name); err != nil {
			return err
		}
		return kernel.Lchownat(to, name, st.Uid, st.Gid)
	case unix.S_IFDIR:
		return copyDirectory(from, to, name, &st, depth)
	case unix.S_IFREG:
		return copyFile(from, to, name, &st)
	}
	return nil
}

func copyDirectory(from, to int, name string, st *unix.Stat_t, depth int) error {
	src, err := kernel.Open(from, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer kernel.Close(src)
	if err := kernel.Mkdirat(to, name, 0o700); err != nil {
		return err
	}
	dst, err := kernel.Open(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer kernel.Close(dst)
	if err := copyOwner(dst, st); err != nil {
		return err
	}
	return copyEntries(src, dst, st.Dev, depth+1)
}

func copyFile(from, to int, name string, st *unix.Stat_t) error {
	src, err := kernel.Open(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0, kernel.NoSymlinks)
	if err != nil {
		return err
	}
	defer kernel.Close(src)
	dst, err := kernel.Open(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600, 0)
	if err != nil {
		return err
	}
	defer kernel.Close(dst)
	if err := kernel.Copy(src, dst); err != nil {
		return err
	}
	return copyOwner(dst, st)
}

func copyOwner(fd int, st *unix.Stat_t) error {
	if err := kernel.Fchown(fd, st.Uid, st.Gid); err != nil {
		return err
	}
	return kernel.Fchmod(fd, st.Mode&0o7777) // after chown, which clears set-id bits
}

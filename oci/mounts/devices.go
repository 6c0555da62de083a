package mounts

import (
	"errors"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errOther = errors.New("something else is there already")

// devLinks are the links that the runtime-spec wants in /dev (config-linux.md,
// "/dev symbolic links"), and ptmx of the container's own devpts.
var devLinks = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
}

func (x *Executor) devices(c *initconf.Config) error {
	for i := range c.Devices {
		if err := x.device(&c.Devices[i]); err != nil {
			return &Error{Step: "device", Path: c.Devices[i].Path, Err: err}
		}
	}
	if !c.DevSymlinks {
		return nil
	}
	for _, l := range devLinks {
		if err := x.devLink(l.name, l.target); err != nil {
			return &Error{Step: "device", Path: "/dev/" + l.name, Err: err}
		}
	}
	return nil
}

// parent opens the directory that p lies in; /dev itself is opened once.
func (x *Executor) parent(p string) (dir int, done func(), err error) {
	name := path.Dir(p)
	if name != "/dev" {
		fd, err := x.destination(name, true)
		return fd, func() { x.k.Close(fd) }, err
	}
	if x.dev < 0 {
		fd, err := x.destination("/dev", true)
		if err != nil {
			return -1, nil, err
		}
		x.dev = fd
	}
	return x.dev, func() {}, nil
}

func (x *Executor) device(d *initconf.Device) error {
	p := path.Clean("/" + d.Path)
	dir, done, err := x.parent(p)
	if err != nil {
		return err
	}
	defer done()
	n := Node{Mode: d.Mode & 0o7777, Dev: unix.Mkdev(d.Major, d.Minor), UID: d.UID, GID: d.GID}
	switch d.Type {
	case 'c':
		n.Mode |= unix.S_IFCHR
	case 'b':
		n.Mode |= unix.S_IFBLK
	case 'p':
		n.Mode, n.Dev = n.Mode|unix.S_IFIFO, 0
	default:
		return syscall.EINVAL
	}
	err = x.k.Make(dir, path.Base(p), n)
	switch kernel.Errno(err) {
	case syscall.EEXIST:
		return x.sameDevice(dir, path.Base(p), n)
	case syscall.EPERM:
		return x.bindDevice(p, n)
	}
	return err
}

// sameDevice accepts what an image or a bind has put there if it is that very device.
func (x *Executor) sameDevice(dir int, name string, n Node) error {
	fd, err := x.k.Open(dir, name, unix.O_PATH|unix.O_NOFOLLOW, kernel.InRoot)
	if err != nil {
		return err
	}
	defer x.k.Close(fd)
	st, err := x.k.Stat(fd)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != n.Mode&unix.S_IFMT || st.Rdev != n.Dev {
		return errOther
	}
	return nil
}

// bindDevice is for user namespaces, which may not make nodes: the host's node of the
// same name, if it is that device.
func (x *Executor) bindDevice(p string, n Node) error {
	tree, err := x.k.Tree(unix.AT_FDCWD, p, false)
	if err != nil {
		return err
	}
	defer x.k.Close(tree)
	st, err := x.k.Stat(tree)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != n.Mode&unix.S_IFMT || st.Rdev != n.Dev {
		return errOther
	}
	at, err := x.destination(p, false)
	if err != nil {
		return err
	}
	defer x.k.Close(at)
	return x.k.Attach(tree, at)
}

func (x *Executor) devLink(name, target string) error {
	dir, done, err := x.parent("/dev/" + name)
	if err != nil {
		return err
	}
	defer done()
	err = x.k.Make(dir, name, Node{Mode: unix.S_IFLNK, Target: target})
	if kernel.Errno(err) != syscall.EEXIST {
		return err
	}
	fd, err := x.k.Open(dir, name, unix.O_PATH|unix.O_NOFOLLOW, kernel.InRoot)
	if err != nil {
		return err
	}
	defer x.k.Close(fd)
	// "./" and "/dev/" before the same name are the same to a reader of the link.
	if now, err := x.k.Readlink(fd); err != nil || strings.TrimPrefix(now, "/dev/") != target {
		return errOther
	}
	return nil
}

// Console binds the pty's slave on /dev/console by its descriptor (CVE-2025-52565).
func (x *Executor) Console(slave int) error {
	tree, err := x.k.Tree(slave, "", false)
	if err != nil {
		return &Error{Step: "console", Path: "/dev/console", Err: err}
	}
	defer x.k.Close(tree)
	at, err := x.destination("/dev/console", false)
	if err != nil {
		return &Error{Step: "console", Path: "/dev/console", Err: err}
	}
	defer x.k.Close(at)
	if err := x.k.Attach(tree, at); err != nil {
		return &Error{Step: "console", Path: "/dev/console", Err: err}
	}
	return nil
}

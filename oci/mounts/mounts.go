// Package mounts carries out the file-system half of an init configuration inside a new
// mount namespace: root, mounts, devices, masks, pivot_root. It plans nothing and knows
// no namespaces but its own.
//
// The container's own files decide nothing here (docs: image content is untrusted).
// Every destination is looked up with openat2 inside the root and without procfs links,
// and what is mounted lands on the descriptor that came back: between look-up and mount
// no path is walked again. Sources are clones taken from the host's view before the root
// exists. It is linked into slipway-init; one goroutine uses an Executor, nothing locks.
package mounts

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

// Kernel is what the executor asks of the kernel. Descriptors are close-on-exec. An empty
// path means the descriptor itself.
type Kernel interface {
	// Open opens path below dir for look-up only (O_PATH) with openat2's resolve flags.
	Open(dir int, path string, flags int, resolve uint64) (int, error)
	// Make creates name in dir; an existing one is EEXIST.
	Make(dir int, name string, n Node) error
	// Tree clones the mount at path, detached.
	Tree(dir int, path string, recursive bool) (int, error)
	// Filesystem makes a new file system, detached.
	Filesystem(fstype, source string, options []kernel.Option, attrs int) (int, error)
	// Overlay mounts an overlay whose options are relative to the directory base.
	Overlay(base, target, options string) error
	// Unmount takes the topmost mount on target away.
	Unmount(target string) error
	// Attach puts a detached mount on the file that at is open on.
	Attach(tree, at int) error
	// SetAttr changes attributes or propagation.
	SetAttr(dir int, path string, a kernel.MountAttr) error
	// Pivot makes the directory root the root of everything.
	Pivot(root int) error
	Files
}

// Files are the questions and errands that are not about mounts.
type Files interface {
	Stat(fd int) (unix.Stat_t, error)
	Magic(fd int) (int64, error)
	Readlink(fd int) (string, error)
	// CopyUp copies what is below the directory from into the directory to.
	CopyUp(from, to int) error
	Close(fd int)
}

// Node is what Make creates: a directory, an empty file, a device (S_IF* in Mode), or
// with Target a symbolic link.
type Node struct {
	Mode     uint32
	Dev      uint64
	UID, GID uint32
	Target   string
}

// Error says at which step, on which path of the container, and why a set-up failed.
type Error struct {
	Step, Path, Message string
	Err                 error
}

// Error joins the parts that are known.
func (e *Error) Error() string {
	s := e.Step + " " + e.Path
	if e.Message != "" {
		s += " (" + e.Message + ")"
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Executor makes one container's file system: Prepare, then whatever needs the root
// while the host is still there (the console), then Finish. After an error it is of no
// further use; the mount namespace goes with the process.
type Executor struct {
	k       Kernel
	root    int
	null    int // the host's /dev/null, char 1:3
	dev     int // /dev of the container, -1 until first used
	sources []int
	private bool    // nothing cloned now propagates
	late    []later // attributes to be set once nothing is created any more
	cgroups Cgroups
	mask    int // an empty read-only directory already attached, -1 until first used
}

type later struct {
	tree int
	path string
	set  uint64
}

// Cgroups are /proc/self/cgroup and /proc/self/mountinfo from before the cgroup namespace
// was unshared, which hides what lies above. They are used for CgroupView mounts only.
type Cgroups struct{ Membership, Mountinfo []byte }

// New returns an executor.
func New(k Kernel, cgroups Cgroups) *Executor {
	return &Executor{k: k, root: -1, null: -1, dev: -1, mask: -1, cgroups: cgroups}
}

// Root is the descriptor of the container's root directory, after Prepare.
func (x *Executor) Root() int { return x.root }

// Prepare makes the root and everything in it that can be made while files may still be
// created: mounts, devices, links.
func (x *Executor) Prepare(c *initconf.Config) error {
	if err := x.takeSources(c); err != nil {
		return err
	}
	if err := x.makeRoot(&c.Root); err != nil {
		return err
	}
	for i := range c.Mounts {
		if err := x.mount(&c.Mounts[i], x.sources[i]); err != nil {
			return err
		}
	}
	return x.devices(c)
}

// Finish closes the container's file system: read-only and masked paths, deferred
// read-only flags, pivot_root. The working directory is "/" then.
func (x *Executor) Finish(c *initconf.Config) error {
	for _, p := range c.ReadonlyPaths {
		if err := x.readonly(p); err != nil {
			return err
		}
	}
	for _, p := range c.MaskedPaths {
		if err := x.maskPath(p); err != nil {
			return err
		}
	}
	if c.Root.Readonly {
		x.late = append(x.late, later{x.root, "/", unix.MOUNT_ATTR_RDONLY})
	}
	for _, l := range x.late {
		if err := x.k.SetAttr(l.tree, "", kernel.MountAttr{Set: l.set}); err != nil {
			return &Error{Step: "mount", Path: l.path, Message: "making it read-only", Err: err}
		}
	}
	if err := x.k.Pivot(x.root); err != nil {
		return &Error{Step: "pivot_root", Path: "/", Err: err}
	}
	if p := c.Root.Propagation; p&(unix.MS_SHARED|unix.MS_UNBINDABLE) != 0 {
		if err := x.propagate(unix.AT_FDCWD, "/", p); err != nil {
			return &Error{Step: "propagation", Path: "/", Err: err}
		}
	}
	return nil
}

func (x *Executor) propagate(dir int, path string, p uint64) error {
	return x.k.SetAttr(dir, path, kernel.MountAttr{Propagation: p &^ unix.MS_REC, Recursive: p&unix.MS_REC != 0})
}

func missing(err error) bool {
	e := kernel.Errno(err)
	return e == syscall.ENOENT || e == syscall.ENOTDIR
}

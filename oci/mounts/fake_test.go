package mounts

import (
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kernel"
)

// fake records operations as text, one a line, and refuses the nth. Its file system is a
// set of paths: present has what exists ("/" of the host and "@/" of the root), with a
// link's target or a device's kind as the value; whatever is made is added.
type fake struct {
	ops     []string
	failAt  int // 1 for the first, 0 for none
	present map[string]string
	names   map[int]string
	next    int
}

var _ Kernel = (*fake)(nil)

const eperm = syscall.EPERM

func newFake() *fake {
	return &fake{names: map[int]string{unix.AT_FDCWD: ""}, next: 100, present: map[string]string{
		"/dev/null": "char 1:3", "/src/file": "file", "/src/dir": "dir", "/rootfs": "dir", "/up": "dir", "/low": "dir",
		"@/.": "dir", "@/dev": "dir", "@/proc": "dir", "@/sys": "dir", "@/proc/kcore": "file", "@/proc/sys": "dir",
		"@/sys/firmware": "dir", "@/proc/acpi": "dir", "@/etc": "dir",
	}}
}

func (f *fake) op(format string, args ...any) error {
	f.ops = append(f.ops, fmt.Sprintf(format, args...))
	if len(f.ops) == f.failAt {
		return eperm
	}
	return nil
}

func (f *fake) fd(name string) int {
	f.next++
	f.names[f.next] = name
	return f.next
}

func (f *fake) at(dir int, p string) string {
	if p == "" {
		return f.names[dir]
	}
	if path.IsAbs(p) {
		return p
	}
	return f.names[dir] + "/" + p
}

func (f *fake) Open(dir int, p string, flags int, resolve uint64) (int, error) {
	name := f.at(dir, p)
	mode := ""
	if resolve&kernel.InRoot == kernel.InRoot {
		mode = " in-root"
	}
	if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		mode += " no-links"
	}
	if flags&unix.O_NOFOLLOW != 0 {
		mode += " nofollow"
	}
	if err := f.op("open %s%s", name, mode); err != nil {
		return -1, err
	}
	if dir == unix.AT_FDCWD && (p == "/up" || p == "/rootfs" || p == "/low/one") {
		name = "@"
	} else if kind, ok := f.present[name]; !ok {
		return -1, syscall.ENOENT
	} else if strings.HasPrefix(kind, "link ") && flags&unix.O_NOFOLLOW == 0 {
		return -1, syscall.ENOENT // dangling: the walk is to look at it
	}
	return f.fd(name), nil
}

func (f *fake) Make(dir int, name string, n Node) error {
	p := f.at(dir, name)
	kind := map[uint32]string{unix.S_IFDIR: "dir", unix.S_IFREG: "file", unix.S_IFCHR: "char", unix.S_IFBLK: "block", unix.S_IFIFO: "fifo", unix.S_IFLNK: "link"}[n.Mode&unix.S_IFMT]
	switch kind {
	case "char", "block":
		kind = fmt.Sprintf("%s %d:%d", kind, unix.Major(n.Dev), unix.Minor(n.Dev))
	case "link":
		kind = "link " + n.Target
	}
	if err := f.op("make %s %s %03o %d:%d", p, kind, n.Mode&0o7777, n.UID, n.GID); err != nil {
		return err
	}
	if _, ok := f.present[p]; ok {
		return syscall.EEXIST
	}
	f.present[p] = kind
	return nil
}

func (f *fake) Tree(dir int, p string, recursive bool) (int, error) {
	name := f.at(dir, p)
	if err := f.op("tree %s recursive=%v", name, recursive); err != nil {
		return -1, err
	}
	kind, ok := f.present[name]
	if !ok {
		return -1, syscall.ENOENT
	}
	if name == "/rootfs" {
		return f.fd("@"), nil
	}
	f.present["clone of "+name] = kind
	return f.fd("clone of " + name), nil
}

func (f *fake) Filesystem(fstype, source string, options []kernel.Option, attrs int) (int, error) {
	if err := f.op("filesystem %s source=%s options=%v attrs=%#x", fstype, source, options, attrs); err != nil {
		return -1, err
	}
	f.present["new "+fstype] = "dir"
	return f.fd("new " + fstype), nil
}

func (f *fake) Overlay(base, target, options string) error {
	return f.op("overlay %s on %s in %s", options, target, base)
}

func (f *fake) Unmount(target string) error { return f.op("unmount %s", target) }

func (f *fake) Attach(tree, at int) error { return f.op("attach %s at %s", f.names[tree], f.names[at]) }

func (f *fake) SetAttr(dir int, p string, a kernel.MountAttr) error {
	return f.op("setattr %s set=%#x clear=%#x propagation=%#x recursive=%v", f.at(dir, p), a.Set, a.Clear, a.Propagation, a.Recursive)
}

func (f *fake) Pivot(root int) error { return f.op("pivot %s", f.names[root]) }

func (f *fake) CopyUp(from, to int) error {
	return f.op("copy up %s to %s", f.names[from], f.names[to])
}

func (f *fake) Stat(fd int) (unix.Stat_t, error) {
	var st unix.Stat_t
	kind := f.present[f.names[fd]]
	switch {
	case kind == "dir":
		st.Mode = unix.S_IFDIR
	case kind == "file":
		st.Mode = unix.S_IFREG
	case strings.HasPrefix(kind, "link "):
		st.Mode = unix.S_IFLNK
	case strings.HasPrefix(kind, "char "):
		var major, minor uint32
		if _, err := fmt.Sscanf(kind, "char %d:%d", &major, &minor); err != nil {
			return st, err
		}
		st.Mode, st.Rdev = unix.S_IFCHR, unix.Mkdev(major, minor)
	}
	return st, nil
}

func (f *fake) Magic(fd int) (int64, error) {
	if strings.HasPrefix(f.names[fd], "@/proc/") {
		return unix.PROC_SUPER_MAGIC, nil
	}
	return unix.TMPFS_MAGIC, nil
}

func (f *fake) Readlink(fd int) (string, error) {
	return strings.TrimPrefix(f.present[f.names[fd]], "link "), nil
}

func (f *fake) Close(int) {}

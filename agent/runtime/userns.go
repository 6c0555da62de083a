package runtime

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
	"github.com/slipway-cri/slipway/oci/mounts"
)

// maxUserMounts bounds the mounts of a container in a user namespace: each is a descriptor of
// one packet to the monitor.
const maxUserMounts = 200

// userNamespaces asks for Linux 5.19, whose overlayfs is the first with id-mapped layers: trying
// takes a mount namespace, a user namespace and two file systems.
func userNamespaces() bool {
	if n, err := readInt("/proc/sys/user/max_user_namespaces"); err != nil || n == 0 {
		return false
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 19)
}

func idMap(in []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(in))
	for i, m := range in {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)}
	}
	return out
}

// inUser says whether the process will have only the rights of a user namespace.
func (q *launch) inUser() bool {
	return q.user != "" || q.request.TargetUser || q.request.UIDMap != nil
}

// enter says who moves the process into its v1 cgroups: itself, or where a user namespace keeps it
// from them, the monitor on its way there; a holder that makes the user namespace, afterClone.
func (q *launch) enter(tasks []string) {
	if q.inUser() {
		q.request.Tasks = tasks
	} else {
		q.config.Cgroups = tasks
	}
}

// parentScore takes the oom_score_adj out of the configuration of a process that could not
// lower its own.
func (q *launch) parentScore() string {
	if !q.inUser() || !q.config.HasOOMScoreAdj {
		return ""
	}
	q.config.HasOOMScoreAdj = false
	return strconv.Itoa(q.config.OOMScoreAdj)
}

// afterClone does to a process in a user namespace what it has no right to do itself. A
// process that is gone already is its exit's to tell.
func (q *launch) afterClone(pid int, score string) error {
	dir := "/proc/" + strconv.Itoa(pid)
	if score != "" {
		err := os.WriteFile(dir+"/oom_score_adj", []byte(score), 0)
		if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	if q.request.UIDMap == nil {
		return nil
	}
	for _, tasks := range q.request.Tasks {
		if err := os.WriteFile(tasks, []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// openUser opens the namespaces and makes the mounts of a process in a user namespace, which
// can open nothing of the node's that not everybody can.
func (r *Runtime) openUser(q *launch, keep func(*os.File, error) (*os.File, error)) (err error) {
	if q.request.User, err = keep(os.Open(q.user)); err != nil {
		return fmt.Errorf("user namespace to join: %w", err)
	}
	for _, j := range q.joins {
		f, err := keep(os.Open(j.Path))
		if err != nil {
			return fmt.Errorf("namespace to join: %w", err)
		}
		q.request.Joins = append(q.request.Joins, f)
	}
	c := q.config
	if len(c.Mounts) > maxUserMounts {
		return fmt.Errorf("%d mounts: with a user namespace there may be %d: %w", len(c.Mounts), maxUserMounts, lifecycle.ErrUnsupported)
	}
	userns := int(q.request.User.Fd())
	err = inOwnMounts(func() error { return mounts.Mapped(mounts.Linux{}, c, userns) })
	pass := func(fd *int) {
		if *fd == 0 {
			return
		}
		f, _ := keep(os.NewFile(uintptr(*fd), "mount"), nil)
		q.request.Extra = append(q.request.Extra, f)
		*fd = initconf.FDExtra + len(q.request.Extra) - 1
	}
	pass(&c.Root.FD)
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if err == nil && m.Type == "bind" {
			err = source(m, userns)
		}
		pass(&m.SourceFD)
	}
	c.Extra = len(q.request.Extra)
	return err
}

// giveUpper gives the root directory of a container to the root of its user namespace.
func giveUpper(s ContainerSpec) error {
	if s.Upper == "" {
		return nil
	}
	root := func(list []specs.LinuxIDMapping) int {
		for _, m := range list {
			if m.ContainerID == 0 {
				return int(m.HostID)
			}
		}
		return -1 // as it is
	}
	return os.Chown(s.Upper, root(s.Spec.Linux.UIDMappings), root(s.Spec.Linux.GIDMappings))
}

// source clones the source of a bind.
func source(m *initconf.Mount, userns int) error {
	flags := uint(unix.OPEN_TREE_CLONE)
	if m.Flags&unix.MS_REC != 0 {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := kernel.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if m.Optional && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount at %s: %w", m.Destination, err)
	}
	m.SourceFD = fd
	if !m.Mapped {
		return nil
	}
	if err := mounts.MapIDs(mounts.Linux{}, fd, userns); err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: the file system of %s cannot map ids", err, m.Source)
		}
		return fmt.Errorf("mount at %s: %w", m.Destination, err)
	}
	return nil
}

// inOwnMounts runs f on a thread with a mount namespace of its own, which ends with it.
func inOwnMounts(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // for good, unless it is the first, which would not end
		if unix.Gettid() == unix.Getpid() {
			err := inOwnMounts(f)
			goruntime.UnlockOSThread()
			done <- err
			return
		}
		err := kernel.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

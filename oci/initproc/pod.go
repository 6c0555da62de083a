package initproc

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
	"github.com/slipway-cri/slipway/oci/namespaces"
	"github.com/slipway-cri/slipway/oci/security"
)

// reaperEnv marks the second life of a pod's reaper.
const reaperEnv = "SLIPWAY_REAPER"

// hold leads ModeHolder: the namespaces live on in the parent's pins.
func hold(c *initconf.Config, proc int) error {
	if err := furnish(c, proc); err != nil {
		return err
	}
	if child.SendReady(initconf.FDReport) != nil {
		return child.ErrAborted
	}
	syscall.Exit(0)
	return nil
}

// furnish waits at the checkpoint and sets what belongs to the pod's namespaces.
func furnish(c *initconf.Config, proc int) error {
	if err := child.Wait(initconf.FDCheckpoint); err != nil {
		return err
	}
	if err := enterCgroups(c, proc); err != nil {
		return err
	}
	if err := namespaces.Join(c.Joins); err != nil {
		return err
	}
	if c.Unshare != 0 {
		if err := kernel.Unshare(c.Unshare); err != nil {
			return err
		}
	}
	if err := session(c); err != nil {
		return err
	}
	return insideNames(c, proc)
}

// becomeReaper leads ModeReaper. Containers of the pod see this process as their PID 1
// and can look at it through procfs, so it gives up its view of the host's files and
// every privilege, and then starts over: of a process with threads only an exec leaves
// nothing behind, and the signals blocked now are blocked for all its threads then.
func becomeReaper(c *initconf.Config, proc int, loader bool) error {
	if err := furnish(c, proc); err != nil {
		return err
	}
	kernel.Close(proc)
	if err := emptyRoot(); err != nil {
		return err
	}
	k := security.Linux{Proc: -1}
	if err := security.NoNewPrivs(k); err != nil {
		return err
	}
	if err := security.Become(k, &initconf.Config{}); err != nil {
		return err
	}
	kernel.BlockSignals(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	// The start gate is not used; the report socket lives on.
	if err := kernel.CloseRange(initconf.FDReport+1, kernel.LastFD, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	err := kernel.Execveat(fdSelf, []string{"slipway-init"}, []string{reaperEnv + "=1", "GOMAXPROCS=1"})
	if loader && kernel.Errno(err) == syscall.ENOENT {
		reap()
	}
	return err
}

// emptyRoot leaves this thread, in a mount namespace of its own, with nothing but an
// empty read-only directory.
func emptyRoot() error {
	if err := kernel.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	private := kernel.MountAttr{Propagation: unix.MS_PRIVATE, Recursive: true}
	if err := kernel.MountSetattr(unix.AT_FDCWD, "/", private); err != nil {
		return err
	}
	tree, err := kernel.Filesystem("tmpfs", "none", []kernel.Option{{Key: "size", Value: "4096"}},
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	at, err := kernel.Open(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return err
	}
	if err := kernel.MoveMount(tree, at); err != nil {
		return err
	}
	kernel.Close(at)
	if err := kernel.PivotRoot(tree); err != nil {
		return err
	}
	kernel.Close(tree)
	return nil
}

// reap is the second life: it reports Ready and stays until SIGTERM or SIGINT. Orphans
// need no loop: with SIGCHLD ignored the kernel reaps them itself (wait(2), notes).
func reap() {
	_ = kernel.SetName("slipway-init") // ps in the pod would show the memfd's name, or its number
	kernel.IgnoreSignal(syscall.SIGCHLD)
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			break
		}
	}
	if child.SendReady(initconf.FDReport) != nil {
		syscall.Exit(child.ExitAborted)
	}
	_ = kernel.CloseRange(3, kernel.LastFD, 0)
	for {
		if sig := kernel.AwaitSignal(syscall.SIGTERM, syscall.SIGINT); sig == syscall.SIGTERM || sig == syscall.SIGINT {
			syscall.Exit(0)
		}
	}
}

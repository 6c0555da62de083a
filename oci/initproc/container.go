package initproc

import (
	"io/fs"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
	"github.com/slipway-cri/slipway/oci/mounts"
	"github.com/slipway-cri/slipway/oci/namespaces"
)

// container leads ModeContainer.
func container(c *initconf.Config, proc int) error {
	// Nobody inside the namespaces that are joined below may trace a process that still
	// is half outside (CVE-2016-9962). execve puts it back.
	if err := kernel.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0); err != nil {
		return err
	}
	if err := child.Wait(initconf.FDCheckpoint); err != nil {
		return err
	}
	if err := enterCgroups(c, proc); err != nil {
		return err
	}
	cgroups, err := cgroupText(c, proc)
	if err != nil {
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
	if err := insideNames(c, proc); err != nil {
		return err
	}
	if err := fileSystem(c, cgroups); err != nil {
		return err
	}
	return process(c, proc)
}

// execute leads ModeExec: it enters a running container and execs at once.
func execute(c *initconf.Config, proc int) error {
	if err := kernel.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0); err != nil {
		return err
	}
	if err := child.Wait(initconf.FDCheckpoint); err != nil {
		return err
	}
	if err := enterCgroups(c, proc); err != nil {
		return err
	}
	if err := namespaces.JoinProcess(initconf.FDTarget, c.TargetFlags); err != nil {
		return err
	}
	kernel.Close(initconf.FDTarget)
	if err := session(c); err != nil {
		return err
	}
	if c.Terminal {
		root, err := kernel.Open(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
		if err != nil {
			return err
		}
		slave, err := openPty(c, root)
		if err != nil {
			return err
		}
		kernel.Close(root)
		if err := useTerminal(slave); err != nil {
			return err
		}
	}
	return process(c, proc)
}

// enterCgroups moves this thread, which is all that execve will leave of the process,
// into its v1 cgroups, and sets how willingly it is killed.
func enterCgroups(c *initconf.Config, proc int) error {
	for _, tasks := range c.Cgroups {
		if err := kernel.WriteFile(unix.AT_FDCWD, tasks, "0", 0); err != nil {
			return &fs.PathError{Op: "cgroup", Path: tasks, Err: kernel.Errno(err)}
		}
	}
	if !c.HasOOMScoreAdj {
		return nil
	}
	err := kernel.WriteProc(proc, "self/oom_score_adj", itoa(c.OOMScoreAdj))
	if kernel.Errno(err) == syscall.EACCES {
		return nil // lowering takes CAP_SYS_RESOURCE: the present value is the nearest allowed
	}
	return err
}

// cgroupText reads where this process is, while it still sees the whole path.
func cgroupText(c *initconf.Config, proc int) (mounts.Cgroups, error) {
	var t mounts.Cgroups
	if !slices.ContainsFunc(c.Mounts, func(m initconf.Mount) bool { return m.CgroupView }) {
		return t, nil
	}
	var err error
	if t.Membership, err = kernel.ReadProc(proc, "self/cgroup"); err != nil {
		return t, err
	}
	t.Mountinfo, err = kernel.ReadProc(proc, "self/mountinfo")
	return t, err
}

func session(c *initconf.Config) error {
	if c.NewSession {
		// EPERM: it leads a session already, as the first process of a fresh one would.
		if _, err := syscall.Setsid(); err != nil && err != syscall.EPERM {
			return &fs.PathError{Op: "setsid", Err: err}
		}
	}
	if !c.NewKeyring {
		return nil
	}
	err := kernel.JoinKeyring()
	if kernel.Errno(err) == syscall.ENOSYS {
		return nil // a kernel without keyrings has none to share
	}
	return err
}

// insideNames are host name, sysctls and the loopback of a network namespace that is
// this process's own; a joined one belongs to the pod.
func insideNames(c *initconf.Config, proc int) error {
	if err := namespaces.Hostname(c.Hostname, c.Domainname); err != nil {
		return err
	}
	if err := namespaces.Sysctls(proc, c.Sysctls); err != nil {
		return err
	}
	for _, j := range c.Joins {
		if j.Flag == unix.CLONE_NEWNET {
			return nil
		}
	}
	return namespaces.LoopbackUp()
}

func fileSystem(c *initconf.Config, cgroups mounts.Cgroups) error {
	x := mounts.New(mounts.Linux{}, cgroups)
	if err := x.Prepare(c); err != nil {
		return err
	}
	if c.Terminal {
		slave, err := openPty(c, x.Root())
		if err != nil {
			return err
		}
		if err := x.Console(slave); err != nil {
			return err
		}
		if err := useTerminal(slave); err != nil {
			return err
		}
	}
	if err := x.Finish(c); err != nil {
		return err
	}
	kernel.Close(x.Root())
	return nil
}

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

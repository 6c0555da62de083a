package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint"
	"github.com/slipway-cri/slipway/oci/initconf"
)

// fdSelf is where slipway-init finds its own binary: it must be in the child's table at
// exec, at a number that the shuffling of descriptors before it cannot overwrite.
const fdSelf = initconf.FDTarget + 1

const closed = ^uintptr(0)

// initEnv keeps the Go runtime of slipway-init small, which lives for a millisecond: no
// collector, and no reading of mountinfo and cgroup limits to size a scheduler of one.
var initEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}

// Start clones slipway-init with l's flags. The child waits at its checkpoint: nothing
// is set up and nothing of the user's runs until Release. The child belongs to the
// calling process, which must reap it. Errors name the failed step; nothing is left then.
func Start(l Launch) (*Process, error) {
	p := &Process{}
	var err error
	if p.checkpoint, err = checkpoint.New(); err != nil {
		return nil, err
	}
	var reportChild *os.File
	if p.report, reportChild, err = checkpoint.NewReport(); err != nil {
		p.checkpoint.Abort()
		return nil, err
	}
	defer reportChild.Close()
	if l.StartGate {
		if p.start, err = checkpoint.New(); err != nil {
			p.Close()
			return nil, err
		}
	}
	if err := p.clone(&l, reportChild); err != nil {
		p.Close()
		return nil, err
	}
	p.checkpoint.CloseChild()
	if p.start != nil {
		p.start.CloseChild()
	}
	return p, nil
}

func (p *Process) clone(l *Launch, reportChild *os.File) error {
	config := l.ConfigFile
	if config == nil {
		f, err := ConfigMemfd(l.Config)
		if err != nil {
			return err
		}
		defer f.Close()
		config = f
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()

	files := make([]uintptr, fdSelf+1)
	for i := range 3 {
		files[i] = null.Fd()
		if l.Stdio[i] != nil {
			files[i] = l.Stdio[i].Fd()
		}
	}
	files[initconf.FDConfig] = config.Fd()
	files[initconf.FDCheckpoint] = p.checkpoint.ChildEnd().Fd()
	files[initconf.FDReport] = reportChild.Fd()
	files[initconf.FDStart] = closed
	if p.start != nil {
		files[initconf.FDStart] = p.start.ChildEnd().Fd()
	}
	if l.StartFIFO != nil {
		files[initconf.FDStart] = l.StartFIFO.Fd()
	}
	files[initconf.FDTarget] = closed
	if l.Target >= 0 {
		files[initconf.FDTarget] = uintptr(l.Target)
	}
	files[fdSelf] = l.Init.Fd()
	for _, f := range l.Extra {
		files = append(files, f.Fd())
	}
	if l.User != nil {
		return p.cloneUser(l, files)
	}
	pidfd := -1
	attr := &syscall.ProcAttr{Dir: "/", Env: initEnv, Files: files, Sys: l.attributes(&pidfd)}
	p.Pid, err = fork(l.PIDNS, attr)
	runtime.KeepAlive(l)
	if err != nil {
		return fmt.Errorf("clone slipway-init: %w", err)
	}
	if pidfd < 0 {
		// Go leaves it unset on kernels before 5.2, which are below Slipway's floor.
		return errors.New("clone slipway-init: the kernel gave no pidfd")
	}
	p.Pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	return nil
}

// cloneUser is clone into a user namespace. The pid is the child's until the caller waits for it.
func (p *Process) cloneUser(l *Launch, files []uintptr) error {
	pid, err := forkUser(l, "/proc/self/fd/8", []string{InitName}, initEnv, files)
	runtime.KeepAlive(l)
	if err != nil {
		return fmt.Errorf("clone slipway-init: %w", err)
	}
	p.Pid = pid
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		waitFor(pid)
		return fmt.Errorf("clone slipway-init: %w", os.NewSyscallError("pidfd_open", err))
	}
	p.Pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	return nil
}

func (l *Launch) attributes(pidfd *int) *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{Cloneflags: l.CloneFlags, PidFD: pidfd}
	if l.CgroupFD >= 0 {
		sys.UseCgroupFD, sys.CgroupFD = true, l.CgroupFD
	}
	if l.CloneFlags&syscall.CLONE_NEWUSER != 0 {
		sys.UidMappings, sys.GidMappings = l.UIDMap, l.GIDMap
		sys.GidMappingsEnableSetgroups = true
		// An exec by an unmapped uid would drop the new namespace's capabilities.
		sys.Credential = &syscall.Credential{NoSetGroups: true}
	}
	return sys
}

// fork clones from this thread, or from one that has joined the PID namespace first: setns there decides
// only where a thread's children are born. While it is so the thread can make no further threads, so it is
// locked, and given back only once its children are born at home again; else it ends with its goroutine.
func fork(pidns int, attr *syscall.ProcAttr) (int, error) {
	const path = "/proc/self/fd/8"
	argv := []string{InitName}
	if pidns < 0 {
		return syscall.ForkExec(path, argv, attr)
	}
	type result struct {
		pid int
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		pid, back, err := forkInside(pidns, path, argv, attr)
		if back {
			runtime.UnlockOSThread()
		}
		done <- result{pid, err}
	}()
	r := <-done
	return r.pid, r.err
}

// forkInside runs on a locked thread; back says that the thread is as it was before.
func forkInside(pidns int, path string, argv []string, attr *syscall.ProcAttr) (pid int, back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/pid")
	if err != nil {
		return 0, true, err
	}
	defer home.Close()
	if err := unix.Setns(pidns, unix.CLONE_NEWPID); err != nil {
		return 0, true, fmt.Errorf("join the pid namespace: %w", err)
	}
	pid, err = syscall.ForkExec(path, argv, attr)
	return pid, unix.Setns(int(home.Fd()), unix.CLONE_NEWPID) == nil, err
}

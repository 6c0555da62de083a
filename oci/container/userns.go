package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// User is an existing user namespace for a child to be born in. What takes the node's own
// rights is done before it is entered, from descriptors, since no path of the node need be
// reachable with the rights inside.
type User struct {
	NS    int   // descriptor of the user namespace
	Joins []int // namespaces to be joined too; those that NS owns among them
	Tasks []int // v1 `tasks` files of the child's cgroups, open for writing
}

// Joining a user namespace takes a process of one thread (setns(2)), which no Go program is. So
// the parent forks a stage of one thread, which still has the node's rights: it enters the cgroups
// and namespaces, becomes root of the user namespace and clones the child with CLONE_PARENT, so that
// the child is the caller's. Both run on a copy of this program's memory (no CLONE_VM), between
// fork and exec or exit, and make raw system calls only: see forkStage.
//
//	caller ── fork ──► stage: cgroups · setns(net, ipc, uts) · setns(user) · setresuid(0) · setns(pid)
//	   ▲                 └── clone(CLONE_PARENT|CLONE_NEW*) ──► child: descriptors · execve(slipway-init)
//	   └── pipe: {step, errno} or {cloned, pid}; EOF once the stage has ended and the child has exec'd

// Steps of the stage and the child, as they are told through the pipe.
const (
	stepCloned = iota // the value is the child's pid
	stepCgroup
	stepJoin
	stepUser
	stepIDs
	stepPID
	stepClone
	stepFiles
	stepExec
)

var stepNames = [...]string{
	"", "enter the cgroup", "join a namespace of the pod", "join the user namespace", "become its root",
	"join the pid namespace", "clone", "place descriptors", "exec",
}

// told is one message of the pipe.
type told struct{ step, value int32 }

// cloneArgs is struct clone_args (clone3(2)), its first 88 bytes.
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
}

// stage is everything that runs after the fork reads; nothing is allocated there.
type stage struct {
	user          *User
	pidns         int
	first, second cloneArgs
	files         []uintptr
	argv0         *byte
	argv, envv    []*byte
	dir           *byte
	pipe          int // the write end
}

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// forkUser is syscall.ForkExec for a child in l.User.
func forkUser(l *Launch, path string, argv, envv []string, files []uintptr) (pid int, err error) {
	s := &stage{user: l.User, pidns: l.PIDNS, files: files}
	if l.CgroupFD >= 0 {
		s.first.flags, s.first.cgroup = unix.CLONE_INTO_CGROUP, uint64(l.CgroupFD)
	}
	s.second.flags = uint64(l.CloneFlags) | unix.CLONE_PARENT
	if s.argv0, err = syscall.BytePtrFromString(path); err != nil {
		return 0, err
	}
	if s.argv, err = syscall.SlicePtrFromStrings(argv); err != nil {
		return 0, err
	}
	if s.envv, err = syscall.SlicePtrFromStrings(envv); err != nil {
		return 0, err
	}
	if s.dir, err = syscall.BytePtrFromString("/"); err != nil {
		return 0, err
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(p[0])
	s.pipe = p[1]
	syscall.ForkLock.Lock()
	first, errno := forkStage(s)
	syscall.ForkLock.Unlock()
	unix.Close(p[1])
	if errno != 0 {
		return 0, os.NewSyscallError("clone3", errno)
	}
	pid, err = listen(p[0])
	// Neither ends in a SIGCHLD before it execs, and only __WALL waits for such.
	waitFor(int(first))
	if err != nil && pid > 0 {
		waitFor(pid)
		pid = 0
	}
	runtime.KeepAlive(s)
	return pid, err
}

// listen reads the pipe to its end.
func listen(fd int) (pid int, err error) {
	for {
		var m told
		n, rerr := unix.Read(fd, (*[unsafe.Sizeof(m)]byte)(unsafe.Pointer(&m))[:])
		switch {
		case rerr == unix.EINTR:
		case rerr != nil:
			return pid, os.NewSyscallError("read", rerr)
		case n == 0 && pid == 0 && err == nil:
			return 0, errors.New("user namespace: the stage ended without a word")
		case n == 0:
			return pid, err
		case m.step == stepCloned:
			pid = int(m.value)
		case err == nil:
			err = fmt.Errorf("user namespace: %s: %w", stepNames[m.step], syscall.Errno(m.value))
		}
	}
}

func waitFor(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != unix.EINTR {
			return
		}
	}
}

// forkStage forks; the stage and the child never return from it. From the fork on the stack
// cannot grow, nothing may be allocated, and no lock of the runtime may be taken, since
// the threads that hold them are not there: functions on the way are nosplit, take no
// interface and make raw system calls (runtime.syscall_runtime_BeforeFork says what else).
//
//go:norace
//go:noinline
func forkStage(s *stage) (pid uintptr, errno syscall.Errno) {
	runtimeBeforeFork()
	pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&s.first)), unsafe.Sizeof(s.first), 0)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	pid = s.enter()
	if pid == 0 {
		s.become()
	}
	s.tell(stepCloned, int32(pid))
	s.exit()
	return 0, 0
}

// enter is the stage's life; it returns twice, as clone does.
//
//go:nosplit
//go:norace
func (s *stage) enter() uintptr {
	zero := [1]byte{'0'} // the writing thread itself
	for _, fd := range s.user.Tasks {
		if _, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&zero)), 1); e != 0 {
			s.fail(stepCgroup, e)
		}
	}
	for _, fd := range s.user.Joins {
		if _, _, e := syscall.RawSyscall(unix.SYS_SETNS, uintptr(fd), 0, 0); e != 0 {
			s.fail(stepJoin, e)
		}
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETNS, uintptr(s.user.NS), unix.CLONE_NEWUSER, 0); e != 0 {
		s.fail(stepUser, e)
	}
	// An exec by an id that is not mapped would drop the capabilities that were just won.
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, 0, 0, 0); e != 0 {
		s.fail(stepIDs, e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		s.fail(stepIDs, e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0); e != 0 {
		s.fail(stepIDs, e)
	}
	if s.pidns >= 0 {
		if _, _, e := syscall.RawSyscall(unix.SYS_SETNS, uintptr(s.pidns), unix.CLONE_NEWPID, 0); e != 0 {
			s.fail(stepPID, e)
		}
	}
	pid, _, e := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&s.second)), unsafe.Sizeof(s.second), 0)
	if e != 0 {
		s.fail(stepClone, e)
	}
	return pid
}

// become is the child's life until its exec: descriptor i of the new program is files[i].
//
//go:nosplit
//go:norace
func (s *stage) become() {
	n := uintptr(len(s.files))
	// Out of the way first, so that placing one overwrites none that is still to be placed.
	pipe, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(s.pipe), unix.F_DUPFD_CLOEXEC, n)
	if e != 0 {
		s.fail(stepFiles, e)
	}
	s.pipe = int(pipe)
	for i, fd := range s.files {
		if fd == closed {
			continue
		}
		up, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, n)
		if e != 0 {
			s.fail(stepFiles, e)
		}
		s.files[i] = up
	}
	for i, fd := range s.files {
		if fd == closed {
			_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(i), 0, 0)
			continue
		}
		if _, _, e := syscall.RawSyscall(unix.SYS_DUP3, fd, uintptr(i), 0); e != 0 {
			s.fail(stepFiles, e)
		}
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(s.dir)), 0, 0); e != 0 {
		s.fail(stepFiles, e)
	}
	_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(s.argv0)),
		uintptr(unsafe.Pointer(unsafe.SliceData(s.argv))), uintptr(unsafe.Pointer(unsafe.SliceData(s.envv))))
	s.fail(stepExec, e)
}

//go:nosplit
//go:norace
func (s *stage) tell(step, value int32) {
	m := told{step, value}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(s.pipe), uintptr(unsafe.Pointer(&m)), unsafe.Sizeof(m))
}

//go:nosplit
//go:norace
func (s *stage) fail(step int32, errno syscall.Errno) {
	s.tell(step, int32(errno))
	s.exit()
}

//go:nosplit
//go:norace
func (s *stage) exit() {
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

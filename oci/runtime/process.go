package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// process names one process for good: a pid may be another's after its end, with the start time and the
// boot it may not.
type process struct {
	Pid   int    // 0 before the clone
	Start uint64 // clock ticks since boot, field 22 of proc_pid_stat(5)
	Boot  string // /proc/sys/kernel/random/boot_id
}

func identify(pid int) (process, error) {
	start, _, err := stat(pid)
	if err != nil {
		return process{}, err
	}
	boot, err := bootID()
	return process{Pid: pid, Start: start, Boot: boot}, err
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// stat reads start time and state; the command in parentheses before them may hold anything.
func stat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	f := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: cut short", pid)
	}
	start, err = strconv.ParseUint(string(f[19]), 10, 64)
	return start, f[0][0], err
}

// alive is false for a zombie: nothing runs any more, it is only not reaped.
func (p process) alive() bool {
	if p.Pid == 0 {
		return false
	}
	start, state, err := stat(p.Pid)
	if err != nil || start != p.Start || state == 'Z' || state == 'X' {
		return false
	}
	boot, err := bootID()
	return err == nil && boot == p.Boot
}

// open gives a pidfd; the caller's to close. errEnded when the process is gone.
func (p process) open() (*os.File, error) {
	if p.Pid == 0 {
		return nil, errEnded
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, errEnded
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if !p.alive() { // asked while the pidfd keeps the pid from changing hands unseen
		unix.Close(fd)
		return nil, errEnded
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

var errEnded = errors.New("the process has ended")

func (p process) signal(sig syscall.Signal) error {
	f, err := p.open()
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return errEnded
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// kill ends the process, waits until it has ended and reaps it where it is this process's child.
func (p process) kill(ctx context.Context) error {
	f, err := p.open()
	if err == nil {
		defer f.Close()
		if err = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err == nil {
			err = await(ctx, int(f.Fd()), unix.POLLIN)
		}
	}
	if err != nil && !errors.Is(err, errEnded) && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", p.Pid, err)
	}
	p.reap()
	return nil
}

// reap collects a zombie that is this process's child; of others it is ECHILD.
func (p process) reap() {
	start, state, err := stat(p.Pid)
	if err == nil && start == p.Start && state == 'Z' {
		_, _ = unix.Wait4(p.Pid, nil, unix.WNOHANG, nil)
	}
}

// await waits for events, POLLERR or POLLHUP of fd.
func await(ctx context.Context, fd int, events int16) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, 50) // milliseconds; between them ctx is looked at
		switch {
		case err != nil && err != unix.EINTR:
			return os.NewSyscallError("poll", err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// Package initproc is slipway-init: the first code in every container, pod holder, pod
// reaper and exec. It reads its configuration, waits at the checkpoint, finishes the
// inside that only the inside can, and execs. It decides nothing that a plan could have
// decided, and imports neither os nor fmt: every package costs start-up time. All of it
// runs on the process's first thread, whose credentials and namespaces execve keeps.
package initproc

import (
	"errors"
	"io/fs"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
	"github.com/slipway-cri/slipway/oci/mounts"
)

// fdSelf is where the launching side leaves the program's own memfd (oci/container).
const fdSelf = initconf.FDTarget + 1

// exitFailed is the exit status after a Failure report; exitUsage that of a start by hand.
const (
	exitFailed = 1
	exitUsage  = 2
)

// maxConfig bounds the configuration in bytes: a full list of environment variables is
// the largest part of it, and execve itself takes no more than 6 MiB.
const maxConfig = 16 << 20

// Main leads the life that the configuration at FDConfig asks for. It does not return.
// The caller must be on the process's first thread: in main's or a package's init.
func Main() { lead(false) }

// MainOfTest is Main for a program that may need a loader, as a test binary with the race
// detector does: a reaper then cannot start over in an empty root and stays as it is,
// without the protection that brings.
func MainOfTest() { lead(true) }

func lead(loader bool) {
	runtime.LockOSThread()
	if _, again := syscall.Getenv(reaperEnv); again {
		reap()
	}
	c, err := configuration()
	if err != nil {
		usage(err)
	}
	err = run(c, loader)
	if errors.Is(err, child.ErrAborted) {
		syscall.Exit(child.ExitAborted)
	}
	report(err, c.StartFIFO)
	syscall.Exit(exitFailed)
}

func run(c *initconf.Config, loader bool) error {
	// Modes of files that are made below are what the plan says.
	syscall.Umask(0)
	// What else the parent leaked must not be there at the first chdir (CVE-2024-21626).
	if c.Mode != initconf.ModeReaper {
		kernel.Close(fdSelf)
	}
	if c.Extra < 0 {
		return &fs.PathError{Op: "configuration", Path: "descriptors", Err: syscall.EINVAL}
	}
	if err := kernel.CloseRange(initconf.FDExtra+uint(c.Extra), kernel.LastFD, 0); err != nil {
		return err
	}
	proc, err := kernel.OpenProc()
	if err != nil {
		return err
	}
	switch c.Mode {
	case initconf.ModeContainer:
		return container(c, proc)
	case initconf.ModeExec:
		return execute(c, proc)
	case initconf.ModeHolder:
		return hold(c, proc)
	case initconf.ModeReaper:
		return becomeReaper(c, proc, loader)
	}
	return &fs.PathError{Op: "configuration", Path: "mode", Err: syscall.EINVAL}
}

func configuration() (*initconf.Config, error) {
	st, err := kernel.Stat(initconf.FDConfig)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size <= 0 || st.Size > maxConfig {
		return nil, syscall.EINVAL
	}
	// pread: the descriptor's offset may be shared with the parent.
	buf := make([]byte, st.Size)
	for n := 0; n < len(buf); {
		m, err := unix.Pread(initconf.FDConfig, buf[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return nil, child.ErrMalformed
		}
		n += m
	}
	kernel.Close(initconf.FDConfig)
	return initconf.Decode(buf)
}

func usage(err error) {
	text := "slipway-init is started by slipway-monitor, not by hand: " + err.Error() + "\n"
	_, _ = syscall.Write(2, []byte(text))
	_ = child.SendFailure(initconf.FDReport, "configuration", "", int(kernel.Errno(err)), err.Error())
	syscall.Exit(exitUsage)
}

// report tells the parent what went wrong, in parts as far as the error has them; with fifo, and when
// the parent is gone, whoever opened the start gate.
func report(err error, fifo bool) {
	step, path, message := "init", "", ""
	if e, ok := errors.AsType[*mounts.Error](err); ok {
		step, path, message = e.Step, e.Path, e.Message
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		switch {
		case step == "init":
			step, path = e.Op, e.Path
		case message == "":
			message = e.Op + " " + e.Path
		default:
			message += ": " + e.Op + " " + e.Path
		}
	}
	errno := kernel.Errno(err)
	if errno == 0 {
		message += cause(err)
	}
	if child.SendFailure(initconf.FDReport, step, path, int(errno), message) != nil && fifo {
		_ = child.WriteFailure(initconf.FDStart, step, path, int(errno), message)
	}
}

// cause is the text of the innermost error, which is no errno.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

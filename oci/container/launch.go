// Package container is the parent's side of an OCI container: it clones
// slipway-init with the planned namespaces, owns the gates and the report socket,
// and gives back a process that waits at its start gate. It does not reap: the caller
// waits for all of its children (wait4 or waitid on Process.Pid), and it makes no cgroups
// and no plans. A Process locks itself; Start may be called from any number of goroutines.
//
//	container:  Start · set-up · Release · WaitReady · Process.Start
//	exec:       Start · Release · WaitReady · Process.Start (waits for the exec only)
//	holder:     Start · pin, network · Release · WaitReady · (it exits by itself)
//	reaper:     Start · pin, network · Release · WaitReady · (stays; SIGTERM or SIGKILL ends it)
package container

import (
	"os"
	"syscall"
	"time"
)

// InitName is argv[0] of slipway-init. A program that is its own init (a test binary) calls
// initproc.Main first of all when os.Args[0] is InitName.
const InitName = "slipway-init"

// Launch is what a clone takes. Descriptors stay the caller's.
type Launch struct {
	Init       *os.File // sealed memfd with slipway-init
	CloneFlags uintptr  // CLONE_NEW*; CLONE_NEWUSER comes with UIDMap and GIDMap
	UIDMap     []syscall.SysProcIDMap
	GIDMap     []syscall.SysProcIDMap
	CgroupFD   int         // cgroup2 directory to be born in, -1 for none
	PIDNS      int         // descriptor of the PID namespace to be born in, -1 for a new or the parent's
	User       *User       // user namespace to be born in, nil for a new or the parent's
	Extra      []*os.File  // further descriptors of the child, from initconf.FDExtra on
	Config     []byte      // initconf.Config, encoded
	ConfigFile *os.File    // memfd with the same, instead of Config
	Stdio      [3]*os.File // nil = /dev/null
	Target     int         // pidfd for ModeExec, -1 for none
	StartGate  bool        // make a start gate (ModeContainer)
	// StartFIFO is a FIFO open for reading and writing, blocking, in place of a start gate
	// (initconf.Config.StartFIFO): the launching process may then end before the start.
	StartFIFO *os.File
}

// Deadline bounds how long a child may take from the checkpoint to Ready.
const Deadline = 2 * time.Minute

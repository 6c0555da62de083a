// Package container is the parent's side of an OCI container: it clones
// slipway-init with the planned namespaces, owns the gates and the report socket,
// and gives back a process that waits at its start gate.
package container

import (
	"os"
	"syscall"
	"time"
)

// Launch is what a clone takes. Descriptors stay the caller's.
type Launch struct {
	Init       *os.File // sealed memfd with slipway-init
	CloneFlags uintptr  // CLONE_NEW*; CLONE_NEWUSER comes with UIDMap and GIDMap
	UIDMap     []syscall.SysProcIDMap
	GIDMap     []syscall.SysProcIDMap
	CgroupFD   int         // cgroup2 directory to be born in, -1 for none
	PIDNS      int         // descriptor of the PID namespace to be born in, -1 for a new or the parent's
	Config     []byte      // initconf.Config, encoded
	Stdio      [3]*os.File // nil = /dev/null
	Target     int         // pidfd for ModeExec, -1 for none
	StartGate  bool        // make a start gate (ModeContainer)
}

// Process is a launched child. Its methods may be called from several goroutines.
type Process struct {
	Pid   int
	Pidfd *os.File
	// unexported: gates, report socket
}

// Deadline bounds how long a child may take from the checkpoint to Ready.
const Deadline = 2 * time.Minute

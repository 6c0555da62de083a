// Package checkpoint is the pipe between a parent and the child it has cloned: the
// child blocks on the read end until the parent has done the set-up that only the
// parent can do. Release is one token byte and then EOF. EOF alone means that the
// parent died or gave up half-way: the child exits and runs nothing of the user's.
//
// The same gate is used twice, and a report socket runs the other way:
//
//	parent (monitor, slipway-oci)                     child (slipway-init)
//	─────────────────────────────                     ────────────────────
//	New gates, report pair; clone ───────────────────► starts, reads its Config (memfd)
//	cgroup, id maps, veth, records …                   waits at FDCheckpoint
//	checkpoint.Release: token, close ────────────────► mounts, pivot_root, caps, seccomp …
//	                              ◄── Console (+ fd) ─ pty made inside, if one is wanted
//	Create returns                ◄────────── Ready ── waits at FDStart
//	start.Release: token, close ─────────────────────► execve
//	Start returns                 ◄──────────── EOF ── the socket is close-on-exec
//	at any time                   ◄──────── Failure ── {step, path, errno, message}; exits 1
//	Abort, or death of the parent: EOF, no token ────► exits ExitAborted
package checkpoint

import (
	"errors"
	"os"
)

// ExitAborted is slipway-init's exit status when its gate closed without a token.
const ExitAborted = 125

// ErrAborted is what Wait returns when the gate closed without a token.
var ErrAborted = errors.New("checkpoint: aborted by the parent")

// Gate is the parent's side of one checkpoint. Both ends are close-on-exec.
type Gate struct {
	child *os.File // read end, handed to the child
	write *os.File
}

// Kind names a report.
type Kind uint8

const (
	Ready   Kind = iota + 1 // the set-up is done
	Console                 // carries the pty's master as SCM_RIGHTS
	Failure                 // the child gives up
)

// Report is one message of the child.
type Report struct {
	Kind    Kind
	Step    string // Failure: what was being done: "mount", "pivot_root", "exec"
	Path    string // Failure: on what, "" if nothing
	Errno   int    // Failure: the errno, 0 if none
	Message string // Failure: what a person needs beside step, path and errno
	FD      int    // Console: the received descriptor, owned by the reader; -1 otherwise
}

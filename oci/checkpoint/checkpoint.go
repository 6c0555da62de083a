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
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
)

// ExitAborted is slipway-init's exit status when its gate closed without a token.
const ExitAborted = child.ExitAborted

var (
	// ErrAborted is what Wait returns when the gate closed without a token.
	ErrAborted = child.ErrAborted
	// ErrMalformed reports a gate or report that does not follow the protocol.
	ErrMalformed = child.ErrMalformed
)

// Kind names a report; Report is one message of the child. Both live in package child,
// which is linked into slipway-init.
type (
	Kind   = child.Kind
	Report = child.Report
)

const (
	Ready   = child.Ready   // the set-up is done
	Console = child.Console // carries the pty's master as SCM_RIGHTS
	Failure = child.Failure // the child gives up
)

// Gate is the parent's side of one checkpoint. Both ends are close-on-exec. Its methods
// may be called from several goroutines; the first of Release and Abort wins.
type Gate struct {
	mu    sync.Mutex
	child *os.File // read end, handed to the child
	write *os.File
}

// New makes a gate. Errors are *os.SyscallError (pipe(2): EMFILE, ENFILE).
func New() (*Gate, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	return &Gate{
		child: os.NewFile(uintptr(p[0]), "gate (child)"),
		write: os.NewFile(uintptr(p[1]), "gate"),
	}, nil
}

// Adopt makes a gate of a write end that came from elsewhere: a mirror's copy after the
// first parent died, or a descriptor kept over a re-exec. The gate owns write.
func Adopt(write *os.File) *Gate { return &Gate{write: write} }

// ChildEnd is the read end, for the child's descriptor table; nil after CloseChild.
func (g *Gate) ChildEnd() *os.File {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.child
}

// WriteEnd is the parent's end, for mirroring it elsewhere; nil once the gate is released
// or aborted. Whoever holds a copy delays the child's EOF until he closes it.
func (g *Gate) WriteEnd() *os.File {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.write
}

// CloseChild closes the parent's copy of the read end, once the child has its own:
// from then on Release sees EPIPE if the child is gone.
func (g *Gate) CloseChild() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.child != nil {
		g.child.Close()
		g.child = nil
	}
}

// Release lets the child go: one token byte, then EOF. It fails with ErrClosed after
// Abort or an earlier Release, and with EPIPE when the child is gone.
func (g *Gate) Release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.write == nil {
		return os.ErrClosed
	}
	_, err := g.write.Write([]byte{child.Token})
	g.write.Close()
	g.write = nil
	return err
}

// Abort closes the gate without a token, and both ends with it: the child exits with
// ExitAborted. After Release it does nothing to the child.
func (g *Gate) Abort() {
	g.CloseChild()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.write != nil {
		g.write.Close()
		g.write = nil
	}
}

// Wait is the child's side: see child.Wait.
func Wait(fd int) error { return child.Wait(fd) }

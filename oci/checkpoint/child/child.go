// Package child is the child's side of package checkpoint, and the messages that both
// sides share. It is linked into slipway-init and therefore imports neither os nor fmt:
// package os alone adds a fifth to the start-up time of a small Go program. It keeps no
// state and takes no locks.
package child

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/wire"
)

// Token is the byte that releases a gate.
const Token = 'T'

// ExitAborted is slipway-init's exit status when its gate closed without a token.
const ExitAborted = 125

// MaxReport bounds an encoded Report in bytes; senders cut Message to fit.
const MaxReport = 4096

// ErrAborted is what Wait returns when the gate closed without a token.
var ErrAborted = errors.New("checkpoint: aborted by the parent")

// ErrMalformed reports a gate or report that does not follow the protocol.
var ErrMalformed = errors.New("checkpoint: malformed message")

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

// Encode returns the packet for r; a descriptor travels beside it.
func (r *Report) Encode() []byte {
	w := &wire.Writer{}
	w.Uint(uint64(r.Kind))
	if r.Kind == Failure {
		w.String(cut(r.Step, 64))
		w.String(cut(r.Path, MaxReport/4))
		w.Uint(uint64(r.Errno))
		w.String(cut(r.Message, MaxReport/2))
	}
	return w.Bytes()
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// Decode reads a packet of Encode; FD is left at -1. Trailing bytes, unknown kinds and
// short packets are ErrMalformed.
func Decode(b []byte) (Report, error) {
	r := wire.NewReader(b)
	kind := r.Uint()
	if kind < uint64(Ready) || kind > uint64(Failure) {
		return Report{FD: -1}, ErrMalformed
	}
	p := Report{Kind: Kind(kind), FD: -1}
	if p.Kind == Failure {
		p.Step, p.Path = r.String(), r.String()
		errno := r.Uint()
		p.Message = r.String()
		if errno > 4095 { // MAX_ERRNO of the kernel
			return Report{FD: -1}, ErrMalformed
		}
		p.Errno = int(errno)
	}
	if r.Err() != nil || r.Len() != 0 {
		return Report{FD: -1}, ErrMalformed
	}
	return p, nil
}

// Wait blocks on the read end fd of a gate until it is released (nil: one token byte and
// then EOF) or closed without a token (ErrAborted). It closes fd.
func Wait(fd int) error {
	defer syscall.Close(fd)
	var b [2]byte
	got := 0
	for {
		n, err := syscall.Read(fd, b[got:])
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case n == 0 && got == 0:
			return ErrAborted
		case n == 0:
			return nil
		case got+n > 1 || b[0] != Token:
			return ErrMalformed
		default:
			got += n
		}
	}
}

// WaitFIFO is Wait on a FIFO that this process holds open for reading and writing: one token byte
// and no EOF, since a writer is always there. The descriptor stays open, close-on-exec: whoever
// wrote the token sees by its closing that the exec is done.
func WaitFIFO(fd int) error {
	var b [1]byte
	for {
		n, err := syscall.Read(fd, b[:])
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case n != 1 || b[0] != Token:
			return ErrMalformed
		default:
			return nil
		}
	}
}

// SendReady reports that the set-up is done.
func SendReady(fd int) error { return send(fd, &Report{Kind: Ready}, nil) }

// SendConsole hands the pty master over; the caller keeps and closes its own copy.
func SendConsole(fd, master int) error {
	return send(fd, &Report{Kind: Console}, unix.UnixRights(master))
}

// SendFailure reports why the child gives up.
func SendFailure(fd int, step, path string, errno int, message string) error {
	return send(fd, &Report{Kind: Failure, Step: step, Path: path, Errno: errno, Message: message}, nil)
}

// WriteFailure is SendFailure into a start FIFO, for whoever has written the token. It is one
// write of at most MaxReport bytes, which PIPE_BUF holds.
func WriteFailure(fd int, step, path string, errno int, message string) error {
	r := &Report{Kind: Failure, Step: step, Path: path, Errno: errno, Message: message}
	_, err := syscall.Write(fd, r.Encode())
	return err
}

// send uses MSG_NOSIGNAL: a parent that died must not kill the child by SIGPIPE before
// it has seen that its gate is closed.
func send(fd int, r *Report, oob []byte) error {
	for {
		err := unix.Sendmsg(fd, r.Encode(), oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

package monitor

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Streams of an attachment: the first byte of each packet, the rest is data. A packet
// of StreamStdin without data ends stdin.
const (
	StreamStdin  = 0
	StreamStdout = 1
	StreamStderr = 2
)

// attachChunk bounds the data of one packet, so that a packet fits a socket buffer.
const attachChunk = 32 << 10

// Attachment is one connection to a container's streams. Reading and writing may go on
// in two goroutines. A reader that takes nothing for a while is cut off by the monitor.
type Attachment struct {
	conn  *packetConn
	stdin bool

	mu  sync.Mutex
	buf []byte
}

// Read waits for the next piece of output and copies it into p, which must hold
// AttachBuffer bytes. io.EOF: the container has exited, or the monitor cut the reader off.
func (a *Attachment) Read(p []byte) (stream byte, n int, err error) {
	n, fds, err := a.conn.recv(p)
	closeFDs(fds)
	if err != nil {
		return 0, 0, err
	}
	stream = p[0]
	copy(p, p[1:n])
	return stream, n - 1, nil
}

// AttachBuffer is the size of a buffer for Read.
const AttachBuffer = attachChunk + 1

// CopyOutput writes output to stdout and stderr (nil: thrown away) until it ends (nil), a
// writer fails or the attachment is closed.
func (a *Attachment) CopyOutput(stdout, stderr io.Writer) error {
	buf := make([]byte, AttachBuffer)
	for {
		stream, n, err := a.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w := stdout
		if stream == StreamStderr {
			w = stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// Write sends p to the container's stdin; it blocks while the container does not read.
func (a *Attachment) Write(p []byte) (int, error) {
	if !a.stdin {
		return 0, lifecycle.ErrState
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for sent := 0; sent < len(p); {
		n := min(len(p)-sent, attachChunk)
		a.buf = append(append(a.buf[:0], StreamStdin), p[sent:sent+n]...)
		if err := a.conn.send(a.buf); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}

// CloseStdin ends the writing side. The container sees the end of its stdin only if it was
// made with StdinOnce and has no terminal; output goes on. It is no error when the container has exited
// meanwhile, which ended stdin as well.
func (a *Attachment) CloseStdin() error {
	if !a.stdin {
		return nil
	}
	err := a.conn.send([]byte{StreamStdin})
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// Close ends the attachment; a blocked Read or Write returns an error.
func (a *Attachment) Close() error { return a.conn.close() }

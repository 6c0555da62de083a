package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxSocketPath is the room for a path in sockaddr_un, less its NUL (unix(7)).
const maxSocketPath = 107

// probeTimeout bounds the question whether somebody answers on an existing socket. An
// agent too busy to accept for that long is alive: its backlog takes the connection.
const probeTimeout = 2 * time.Second

// Listen makes a unix socket at path with mode 0600, in a directory of mode 0700 if there
// was none. A socket that nobody answers on is removed first; one in use is
// lifecycle.ErrExists, and anything that is no socket is left alone (lifecycle.ErrInvalid).
// Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	if !filepath.IsAbs(path) || len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %q: want an absolute path of at most %d bytes: %w", path, maxSocketPath, lifecycle.ErrInvalid)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("socket %q: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("socket %q: %w", path, err)
	}
	// The mode is set before bind, which makes the file with it: there is no moment at
	// which others could connect, and the process's umask stays untouched.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var errno error
		err := c.Control(func(fd uintptr) { errno = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, os.NewSyscallError("fchmod", errno))
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %q: %w", path, err)
	}
	return l, nil
}

func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("there is a file that is no socket: %w", lifecycle.ErrInvalid)
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process answers on it: %w", lifecycle.ErrExists)
	}
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("probe: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

package monitor

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// logFile is a container's log, shared by its two streams.
//
// A log that cannot be written (full disk, quota, I/O error) does not hold the container
// back: a full disk would otherwise stop every container of the node that says a word,
// and the one that could free the space with them. What does not fit is dropped and
// counted; when there is room again the log says how much was lost. A record that was cut
// in its middle is completed first, so that the file stays well-formed.
type logFile struct {
	path string

	mu      sync.Mutex
	fd      int    // -1 once closed
	rest    []byte // of the record that the disk cut
	dropped uint64 // bytes of records
	cause   error
}

func openLog(path string) (*logFile, error) {
	fd, err := openLogFD(path)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, fd: fd}, nil
}

// openLogFD refuses a symbolic link and anything but a regular file as the last element:
// a pod that sees the log directory could lead the monitor elsewhere.
func openLogFD(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			unix.Close(fd)
			return -1, &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
		}
		return fd, nil
	}
}

// write appends whole records.
func (l *logFile) write(records []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return
	}
	if (l.dropped > 0 || len(l.rest) > 0) && !l.recover() {
		l.dropped += uint64(len(records))
		return
	}
	n, err := writeAll(l.fd, records)
	if err == nil {
		return
	}
	l.cause = err
	left := records[n:]
	if n > 0 && records[n-1] != '\n' {
		end := bytes.IndexByte(left, '\n') + 1
		l.rest = append([]byte(nil), left[:end]...)
		left = left[end:]
	}
	l.dropped += uint64(len(left))
}

// recover completes the cut record and tells of what was lost; false while the disk is full.
func (l *logFile) recover() bool {
	if !l.complete() {
		return false
	}
	if l.dropped == 0 {
		return true
	}
	var h header
	h.set(time.Now(), StreamStderr)
	note := append(h.full[:], "slipway-monitor: "...)
	note = strconv.AppendUint(note, l.dropped, 10)
	note = append(append(note, " bytes of log were lost: "...), l.cause.Error()...)
	note = append(note, '\n')
	n, err := writeAll(l.fd, note)
	if n > 0 {
		l.rest, l.dropped = note[n:], 0
	}
	return err == nil && l.complete()
}

func (l *logFile) complete() bool {
	n, err := writeAll(l.fd, l.rest)
	l.rest = l.rest[n:]
	if err != nil {
		return false
	}
	l.rest = nil
	return true
}

// reopen opens the path anew; the old file stays in use if that fails. Records are
// written whole under the lock, so each is in one of the two files.
func (l *logFile) reopen() error {
	fd, err := openLogFD(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		unix.Close(fd)
		return os.ErrClosed
	}
	if !l.complete() {
		l.dropped += uint64(len(l.rest))
		l.rest = nil
	}
	unix.Close(l.fd)
	l.fd = fd
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return
	}
	if l.dropped > 0 || len(l.rest) > 0 {
		l.recover()
	}
	unix.Close(l.fd)
	l.fd = -1
}

func writeAll(fd int, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(fd, p[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

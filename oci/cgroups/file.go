package cgroups

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// readFile reads a cgroup file into buf, which grows where it is too small, without the
// poller that os.File brings in. The error is an *os.PathError.
func readFile(dir, name string, buf []byte) ([]byte, error) {
	p := dir + "/" + name
	fd, err := retry(func() (int, error) { return unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	defer unix.Close(fd)
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: p, Err: err}
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

func readString(dir, name string) (string, error) {
	b, err := readFile(dir, name, make([]byte, 0, 256))
	return strings.TrimSpace(string(b)), err
}

// writeFile makes one write of data: cgroup files take a value whole or not at all.
func writeFile(dir, name, data string) error {
	p := dir + "/" + name
	fd, err := retry(func() (int, error) { return unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &os.PathError{Op: "open", Path: p, Err: err}
	}
	defer unix.Close(fd)
	if _, err := retry(func() (int, error) { return unix.Write(fd, []byte(data)) }); err != nil {
		return &os.PathError{Op: "write " + data + " to", Path: p, Err: err}
	}
	return nil
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

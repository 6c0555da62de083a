package initproc

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

// maxPasswd bounds what is read of an image's /etc/passwd, in bytes.
const maxPasswd = 1 << 20

// environment is the planned one, with HOME from the container's /etc/passwd if the plan
// has none: programs expect it, and only the inside knows the file.
func environment(c *initconf.Config) []string {
	if _, ok := lookupEnv(c.Env, "HOME"); ok {
		return c.Env
	}
	home := "/"
	if text := passwd(); text != nil {
		if h := homeOf(text, c.UID); h != "" {
			home = h
		}
	}
	return append(c.Env[:len(c.Env):len(c.Env)], "HOME="+home)
}

// passwd reads /etc/passwd if it is a plain file of a sane size. O_NONBLOCK: an image may
// have a FIFO there.
func passwd() []byte {
	fd, err := kernel.Open(unix.AT_FDCWD, "/etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0, unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return nil
	}
	defer kernel.Close(fd)
	if st, err := kernel.Stat(fd); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	text, err := kernel.ReadAll(fd, maxPasswd)
	if err != nil {
		return nil
	}
	return text
}

// homeOf finds uid's home directory in a passwd(5) file: an absolute path without control
// bytes, else "".
func homeOf(text []byte, uid uint32) string {
	want := itoa(int(uid))
	for line := range bytes.Lines(text) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) < 7 || f[2] != want {
			continue
		}
		if strings.HasPrefix(f[5], "/") && !strings.ContainsFunc(f[5], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return f[5]
		}
		return ""
	}
	return ""
}

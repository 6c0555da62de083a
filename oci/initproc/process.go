package initproc

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint/child"
	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
	"github.com/slipway-cri/slipway/oci/security"
)

var errOutside = errors.New("the working directory is outside the container")

// defaultUmask applies where the plan has none.
const defaultUmask = 0o022

// process turns this process, inside its namespaces already, into the user's.
//
// A filter without no_new_privs takes CAP_SYS_ADMIN and is therefore loaded before the
// capabilities go; with no_new_privs it is loaded last, so that it need not allow what
// comes in between.
func process(c *initconf.Config, proc int) error {
	k := security.Linux{Proc: proc}
	if err := security.Label(k, c); err != nil {
		return err
	}
	kernel.Close(proc)
	early := enterDirectory(c)
	if e := kernel.Errno(early); early != nil && e != syscall.EACCES && e != syscall.EPERM {
		return early
	}
	ownStreams(c.UID)
	env := environment(c)
	if err := security.Limits(k, c.Rlimits); err != nil {
		return err
	}
	if c.NoNewPrivs {
		if err := security.NoNewPrivs(k); err != nil {
			return err
		}
	} else if err := security.Seccomp(k, c); err != nil {
		return err
	}
	if err := security.Become(k, c); err != nil {
		return err
	}
	if early != nil { // root may be the one who is refused: NFS with root squashing
		if err := enterDirectory(c); err != nil {
			return err
		}
	}
	umask := defaultUmask
	if c.HasUmask {
		umask = int(c.Umask)
	}
	syscall.Umask(umask)
	kernel.ResetSignals()
	if err := kernel.CloseRange(3, kernel.LastFD, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	if c.StartFIFO {
		if err := findProgram(c.Args, env); err != nil {
			return err
		}
	}
	if err := gate(c); err != nil {
		return err
	}
	if c.NoNewPrivs {
		if err := security.Seccomp(k, c); err != nil {
			return err
		}
	}
	return become(c.Args, env)
}

// gate reports Ready and waits at the start gate, where the mode has one. A parent that
// cannot be told is dead, and then nothing of the user's runs.
func gate(c *initconf.Config) error {
	if child.SendReady(initconf.FDReport) != nil {
		return child.ErrAborted
	}
	if c.Mode != initconf.ModeContainer {
		return nil
	}
	if c.StartFIFO {
		return child.WaitFIFO(initconf.FDStart)
	}
	return child.Wait(initconf.FDStart)
}

// enterDirectory changes to the working directory and makes sure that it is inside. Links
// of procfs are not followed: /proc/self/fd/N may be a directory of the host (CVE-2024-21626).
func enterDirectory(c *initconf.Config) error {
	cwd := c.Cwd
	if cwd == "" {
		cwd = "/"
	}
	fd, err := openDirectory(cwd)
	if kernel.Errno(err) == syscall.ENOENT && c.CreateCwd {
		fd, err = makeDirectory(cwd)
	}
	if err == nil {
		err = kernel.Fchdir(fd)
		kernel.Close(fd)
	}
	if err != nil {
		return &fs.PathError{Op: "cwd", Path: c.Cwd, Err: kernel.Errno(err)}
	}
	// The kernel prefixes a directory that the root does not reach with "(unreachable)".
	var buf [unix.PathMax]byte
	n, err := unix.Getcwd(buf[:])
	if err != nil || n == 0 || buf[0] != '/' {
		return &fs.PathError{Op: "cwd", Path: c.Cwd, Err: errOutside}
	}
	return nil
}

func openDirectory(p string) (int, error) {
	return kernel.Open(unix.AT_FDCWD, p, unix.O_PATH|unix.O_DIRECTORY, 0, unix.RESOLVE_NO_MAGICLINKS)
}

// makeDirectory makes a missing working directory and its parents. The root is the
// container's own by now, so there is nothing outside to be led to.
func makeDirectory(p string) (int, error) {
	p = path.Clean("/" + p)
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if err := kernel.Mkdirat(unix.AT_FDCWD, p[:i], 0o755); err != nil && kernel.Errno(err) != syscall.EEXIST {
			return -1, err
		}
	}
	return openDirectory(p)
}

// ownStreams gives pipes and terminals among the standard streams to the user, so that
// /dev/stdout can be opened again (as log files of many images are). /dev/null belongs to
// all, and what cannot be given stays.
func ownStreams(uid uint32) {
	for fd := range 3 {
		st, err := kernel.Stat(fd)
		null := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
		if err != nil || null || st.Uid == uid {
			continue
		}
		_ = kernel.Fchown(fd, uid, st.Gid)
	}
}

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// become runs args[0], looked up in the PATH of env. It returns only on error: EACCES if
// something was found that may not be run, else what the last attempt said.
func become(args, env []string) error {
	return search(args, env, func(path string) error { return syscall.Exec(path, args, env) })
}

// findProgram says before the start what become would say of a program that is not there or may not be run.
func findProgram(args, env []string) error {
	return search(args, env, func(path string) error {
		return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	})
}

// search tries the paths that args[0] may stand for, until one is no error or no ordinary one.
func search(args, env []string, try func(path string) error) error {
	if len(args) == 0 || args[0] == "" {
		return &fs.PathError{Op: "exec", Err: syscall.ENOENT}
	}
	fail := func(err error) error { return &fs.PathError{Op: "exec", Path: args[0], Err: err} }
	if strings.Contains(args[0], "/") {
		if err := try(args[0]); err != nil {
			return fail(err)
		}
		return nil
	}
	dirs, ok := lookupEnv(env, "PATH")
	if !ok {
		dirs = defaultPath
	}
	var err error = syscall.ENOENT
	for dir := range strings.SplitSeq(dirs, ":") {
		if !strings.HasPrefix(dir, "/") {
			continue // never the working directory
		}
		switch e := try(dir + "/" + args[0]); e {
		case nil:
			return nil
		case syscall.ENOENT, syscall.ENOTDIR:
		case syscall.EACCES:
			err = e
		default:
			return fail(e)
		}
	}
	return fail(err)
}

func lookupEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

package monitor

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
)

// Name is argv[0] of the monitor.
const Name = "slipway-monitor"

// MaybeRun runs the monitor and does not return if this process was started under its
// Name: a test binary that calls it first of all in TestMain is its own monitor, started
// with StartConfig.Path = "/proc/self/exe". It is to be slipway-init too: call
// initproc's counterpart before, and give the same path as StartConfig.Init.
func MaybeRun() {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == Name {
		os.Exit(Main())
	}
}

// warn writes a line to stderr, which is the monitor's log.
func warn(s string) {
	fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339Nano), s)
}

type options struct {
	socket, exits, init string
	maxLine, readyFD    int
}

func parseFlags(args []string, usage io.Writer) (options, error) {
	var o options
	var state string
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&state, "state", "", "the agent's state `directory`: where monitor.sock and exits/ are")
	f.StringVar(&o.socket, "socket", "", "`path` of the socket")
	f.StringVar(&o.exits, "exits", "", "`directory` of exit records")
	f.StringVar(&o.init, "init", "", "`path` of slipway-init (default: beside this program)")
	f.IntVar(&o.maxLine, "max-log-line", DefaultMaxLine, "longest line of a log that is not split, in `bytes`")
	f.IntVar(&o.readyFD, "ready-fd", -1, "`descriptor` that gets one byte when the socket listens")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if state != "" {
		o.socket = or(o.socket, filepath.Join(state, "monitor.sock"))
		o.exits = or(o.exits, filepath.Join(state, "exits"))
	}
	if o.init == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.init = filepath.Join(filepath.Dir(self), container.InitName)
	}
	if o.socket == "" || o.exits == "" {
		return o, errors.New("give --state, or --socket and --exits")
	}
	if o.maxLine < 1 || o.maxLine > 1<<20 {
		return o, errors.New("--max-log-line is from 1 to 1048576")
	}
	return o, nil
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// Main is the program slipway-monitor; it returns its exit status.
func Main() int {
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		warn(Name + ": " + err.Error())
		return 1
	}
	return 0
}

func run(o options) error {
	if err := harden(); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(o.socket), o.exits} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	init, err := container.InitMemfd(o.init)
	if err != nil {
		return err
	}
	s, err := newServer(o.exits, init, o.maxLine)
	if err != nil {
		return err
	}
	s.oomScore = lowerOOMScore()
	ln, lock, err := listen(o.socket)
	if err != nil {
		return err
	}
	defer lock.Close()
	signals := make(chan os.Signal, 16)
	// Caught, not ignored: children would inherit that.
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	failed := make(chan error, 2)
	go func() { failed <- s.loop.run() }()
	go func() { failed <- s.accept(ln) }()
	if o.readyFD >= 0 {
		_, _ = unix.Write(o.readyFD, []byte{1})
		unix.Close(o.readyFD)
	}
	s.reapAll()
	err = s.watch(signals, failed)
	os.Remove(o.socket)
	return err
}

// watch returns when the monitor is to end.
func (s *server) watch(signals <-chan os.Signal, failed <-chan error) error {
	for {
		select {
		case sig := <-signals:
			switch sig {
			case unix.SIGCHLD:
				s.reapAll()
			case unix.SIGTERM, unix.SIGINT:
				if err := s.shutdown(false); err == nil {
					return nil
				}
				warn("told to end, but there are processes: staying")
			}
		case err := <-failed:
			return err
		case <-s.over:
			return nil
		}
	}
}

// harden makes the monitor what the parent of all containers has to be.
func harden() error {
	debug.SetGCPercent(50)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", err)
	}
	// What the agent left open at our start must not go on to our children.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	unix.Umask(0o027)
	_, _ = unix.Setsid() // EPERM: it leads one already
	return os.Chdir("/")
}

// lowerOOMScore makes the monitor the last to be killed when the machine runs out of
// memory, where it may, and returns the score it had.
func lowerOOMScore() string {
	const path = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(path)
	if err != nil || os.WriteFile(path, []byte("-999"), 0) != nil { // needs CAP_SYS_RESOURCE
		return ""
	}
	return strings.TrimSpace(string(before))
}

// accept serves every connection; the newest is the agent.
func (s *server) accept(ln *os.File) error {
	rc, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var fd int
		var aerr error
		err := rc.Read(func(l uintptr) bool {
			fd, _, aerr = syscall.Accept4(int(l), syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
			return aerr != syscall.EAGAIN && aerr != syscall.EINTR
		})
		if err != nil {
			return err
		}
		if aerr != nil {
			warn("accept: " + aerr.Error())
			time.Sleep(100 * time.Millisecond) // out of descriptors: the connection stays ready
			continue
		}
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || int(cred.Uid) != os.Geteuid() {
			unix.Close(fd)
			continue
		}
		if conn, err := newPacketConn(fd); err == nil {
			go s.serve(conn)
		}
	}
}

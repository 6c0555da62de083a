package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/runtime"
)

// words is a flag that may be given several times.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

type execFlags struct {
	process, cwd, user string
	env                words
	tty, detach        bool
	o                  runtime.ExecOptions
}

// execute fails with 255, which no program's own code is mistaken for as easily as 1.
func execute(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	err := runExec(ctx, a, f, args)
	if e, ok := errors.AsType[*exitError](err); err == nil || ok && e != nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return &exitError{code: 255, err: err}
}

func runExec(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	x := &execFlags{}
	for _, name := range []string{"process", "p"} {
		f.StringVar(&x.process, name, "", "`file` with the process as JSON")
	}
	for _, name := range []string{"env", "e"} {
		f.Var(&x.env, name, "`NAME=VALUE` more, repeatable")
	}
	for _, name := range []string{"user", "u"} {
		f.StringVar(&x.user, name, "", "`UID[:GID]`")
	}
	for _, name := range []string{"tty", "t"} {
		f.BoolVar(&x.tty, name, false, "a terminal (with --console-socket)")
	}
	for _, name := range []string{"detach", "d"} {
		f.BoolVar(&x.detach, name, false, "do not wait for its end")
	}
	f.StringVar(&x.cwd, "cwd", "", "working `directory`")
	f.StringVar(&x.o.ConsoleSocket, "console-socket", "", "unix `socket` that gets the terminal's master")
	f.StringVar(&x.o.PidFile, "pid-file", "", "`file` that gets the pid")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 1 {
		return errors.New("exec: takes the container's id and a command")
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	id := f.Arg(0)
	p, err := x.plan(r, id, f.Args()[1:])
	if err != nil {
		return err
	}
	x.o.Stdio = stdio()
	run, err := r.Exec(ctx, id, p, x.o)
	if err != nil || x.detach {
		return err
	}
	defer forward(func(sig syscall.Signal) { _ = unix.Kill(run.Pid, sig) })()
	return exited(run.Wait(ctx))
}

// plan is the process of a file, or the container's own with another command.
func (x *execFlags) plan(r *runtime.Runtime, id string, command []string) (*specs.Process, error) {
	if x.process != "" {
		data, err := os.ReadFile(x.process)
		if err != nil {
			return nil, err
		}
		p := &specs.Process{}
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("%s: %w", x.process, err)
		}
		return p, nil
	}
	if len(command) == 0 {
		return nil, errors.New("exec: no command")
	}
	p, err := r.Spec(id)
	if err != nil {
		return nil, err
	}
	q := *p.Process
	q.Args, q.Terminal = command, x.tty
	q.Env = append(append([]string{}, q.Env...), x.env...)
	if x.cwd != "" {
		q.Cwd = filepath.Clean(x.cwd)
	}
	if x.user != "" {
		if q.User, err = parseUser(x.user); err != nil {
			return nil, err
		}
	}
	return &q, nil
}

// parseUser reads numbers: the names of a container are its image's matter.
func parseUser(s string) (specs.User, error) {
	uid, gid, both := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 31)
	g := uint64(0)
	if err == nil && both {
		g, err = strconv.ParseUint(gid, 10, 31)
	}
	if err != nil {
		return specs.User{}, fmt.Errorf("--user %q: %w", s, err)
	}
	return specs.User{UID: uint32(u), GID: uint32(g)}, nil
}

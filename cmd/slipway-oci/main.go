// Command slipway-oci runs containers from OCI bundles, with runc's verbs, flags and exit codes, for
// callers of an OCI runtime (containerd's shim, podman, scripts). All it does is oci/runtime's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/runtime"
)

// app is the global flags and what verbs share.
type app struct {
	root, log, format, init string
	debug                   bool
	stdout                  io.Writer
}

// verb is one command; run gets its flags, not yet parsed, and the arguments after its name.
type verb struct {
	usage, short string
	run          func(context.Context, *app, *flag.FlagSet, []string) error
}

// exitError is the exit code of what was run, with nothing to print, or 255 for an exec that failed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	a := &app{stdout: os.Stdout}
	f := flag.NewFlagSet("slipway-oci", flag.ContinueOnError)
	f.StringVar(&a.root, "root", runtime.DefaultRoot, "`directory` of the containers' state")
	f.StringVar(&a.log, "log", "", "`file` that gets errors too")
	f.StringVar(&a.format, "log-format", "text", "text or json")
	f.StringVar(&a.init, "init", "", "`path` of slipway-init (default: beside this program)")
	f.BoolVar(&a.debug, "debug", false, "taken for compatibility")
	f.Bool("systemd-cgroup", false, "refused: the systemd cgroup driver is not supported")
	version := f.Bool("version", false, "print versions")
	f.BoolVar(version, "v", false, "print versions")
	f.Usage = func() { usage(f) }
	if err := f.Parse(args); err != nil {
		return code(a, err)
	}
	if *version {
		fmt.Fprintf(a.stdout, "slipway-oci version %s\nspec: %s\n", release(), specs.Version)
		return 0
	}
	if f.Lookup("systemd-cgroup").Value.String() == "true" {
		return code(a, errors.New("--systemd-cgroup: the systemd cgroup driver is not supported"))
	}
	name := f.Arg(0)
	v, ok := verbs()[name]
	if !ok {
		usage(f)
		return code(a, fmt.Errorf("no such command: %q", name))
	}
	vf := flag.NewFlagSet(name, flag.ContinueOnError)
	vf.Usage = func() {
		fmt.Fprintf(vf.Output(), "slipway-oci %s %s: %s\n", name, v.usage, v.short)
		vf.PrintDefaults()
	}
	return code(a, v.run(context.Background(), a, vf, f.Args()[1:]))
}

// code reports err as runc's callers expect it: on stderr, and as the last line of the log.
func code(a *app, err error) int {
	e, ok := errors.AsType[*exitError](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case ok && e.err == nil:
		return e.code
	}
	fmt.Fprintln(os.Stderr, "slipway-oci:", err)
	if a.log != "" {
		a.writeLog(err.Error())
	}
	if ok {
		return e.code
	}
	return 1
}

func (a *app) writeLog(message string) {
	now := time.Now().Format(time.RFC3339)
	line := fmt.Sprintf("time=%q level=error msg=%q\n", now, message)
	if a.format == "json" {
		b, _ := json.Marshal(map[string]string{"level": "error", "msg": message, "time": now})
		line = string(b) + "\n"
	}
	f, err := os.OpenFile(a.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway-oci: log:", err)
	}
}

func (a *app) open() (*runtime.Runtime, error) {
	return runtime.New(runtime.Options{Root: a.root, InitPath: a.init})
}

// one parses f and takes the only argument, the container's id.
func one(f *flag.FlagSet, args []string) (string, error) {
	if err := f.Parse(args); err != nil {
		return "", err
	}
	if f.NArg() != 1 {
		return "", fmt.Errorf("%s: takes one argument, the container's id", f.Name())
	}
	return f.Arg(0), nil
}

func release() string {
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		return i.Main.Version
	}
	return "unknown"
}

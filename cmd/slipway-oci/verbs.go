package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/runtime"
)

func verbs() map[string]verb {
	return map[string]verb{
		"create": {"[FLAGS] ID", "make a container, up to its start", create},
		"run":    {"[FLAGS] ID", "create, start, wait, delete", runContainer},
		"start":  {"ID", "run the program of a created container", byID((*runtime.Runtime).Start)},
		"pause":  {"ID", "freeze all its processes", byID((*runtime.Runtime).Pause)},
		"resume": {"ID", "let them run again", byID((*runtime.Runtime).Resume)},
		"state":  {"ID", "print its state as JSON", state},
		"kill":   {"[--all] ID [SIGNAL]", "signal its process (TERM)", kill},
		"delete": {"[--force] ID", "remove a stopped container", remove},
		"exec":   {"[FLAGS] ID COMMAND [ARG...]", "run another process in it", execute},
		"update": {"[FLAGS] ID", "change its limits", update},
		"list":   {"[-q] [--format table|json]", "all containers", list},
		"spec":   {"[--bundle DIR]", "write an example config.json", example},
	}
}

func usage(f *flag.FlagSet) {
	all := verbs()
	fmt.Fprintln(f.Output(), "slipway-oci [FLAGS] COMMAND: containers from OCI bundles")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(f.Output(), "  %-7s %-28s %s\n", name, all[name].usage, all[name].short)
	}
	f.PrintDefaults()
}

func byID(do func(*runtime.Runtime, context.Context, string) error) func(context.Context, *app, *flag.FlagSet, []string) error {
	return func(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
		id, err := one(f, args)
		if err != nil {
			return err
		}
		r, err := a.open()
		if err != nil {
			return err
		}
		return do(r, ctx, id)
	}
}

func state(_ context.Context, a *app, f *flag.FlagSet, args []string) error {
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	s, err := r.State(id)
	if err != nil {
		return err
	}
	return a.printJSON(s)
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func kill(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	all := f.Bool("all", false, "every process of the container")
	f.BoolVar(all, "a", false, "every process of the container")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 1 || f.NArg() > 2 {
		return errors.New("kill: takes the container's id and a signal")
	}
	sig := syscall.SIGTERM
	if f.NArg() == 2 {
		var err error
		if sig, err = parseSignal(f.Arg(1)); err != nil {
			return err
		}
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	return r.Kill(ctx, f.Arg(0), sig, *all)
}

// parseSignal reads "9", "KILL" or "SIGKILL".
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func remove(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	force := f.Bool("force", false, "kill it first where it lives")
	f.BoolVar(force, "f", false, "kill it first where it lives")
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	return r.Delete(ctx, id, *force)
}

func list(_ context.Context, a *app, f *flag.FlagSet, args []string) error {
	format := f.String("format", "table", "table or json")
	f.StringVar(format, "f", "table", "table or json")
	quiet := f.Bool("q", false, "ids only")
	f.BoolVar(quiet, "quiet", false, "ids only")
	if err := f.Parse(args); err != nil {
		return err
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	all, err := r.List()
	if err != nil {
		return err
	}
	switch {
	case *quiet:
		for _, s := range all {
			fmt.Fprintln(a.stdout, s.ID)
		}
		return nil
	case *format == "json":
		if all == nil {
			all = []*runtime.State{}
		}
		return a.printJSON(all)
	case *format != "table":
		return fmt.Errorf("list: unknown format %q", *format)
	}
	w := tabwriter.NewWriter(a.stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\n")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano))
	}
	return w.Flush()
}

// stdio hands on what this process has.
func stdio() [3]*os.File { return [3]*os.File{os.Stdin, os.Stdout, os.Stderr} }

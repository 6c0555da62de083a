// Command slipway is the node agent (serve) and its client verbs, which speak CRI to the
// agent's socket and the few calls of cri/extension. One file per verb; what a verb prints
// goes to stdout, everything about its work to stderr. It keeps no state.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes beside a container's own, which run and exec pass on.
const (
	exitError  = 1
	exitUsage  = 2
	exitNoNode = 3   // no agent answers on the socket
	exitOwn    = 125 // run and exec: slipway failed, not the command
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs one command line and returns the process's exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: out, err: errs}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	a.close()
	if err == nil {
		return 0
	}
	var exit exitStatus
	if errors.As(err, &exit) {
		return int(exit)
	}
	fmt.Fprintln(errs, "slipway:", explain(err))
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(errs, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	case cmd.Name() == "run" || cmd.Name() == "exec":
		return exitOwn
	case errors.Is(err, errNoNode):
		return exitNoNode
	}
	return exitError
}

// exitStatus is a container's exit code on its way to os.Exit; nothing is printed for it.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// positional turns cobra's complaint about arguments into a usageError.
func positional(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// explain takes gRPC's wrapping off: the agent's message is written for people.
func explain(err error) string {
	// What an undoing said stands beside what went wrong: errors.Join.
	if all, ok := err.(interface{ Unwrap() []error }); ok && err.Error() == errors.Join(all.Unwrap()...).Error() {
		var list []string
		for _, e := range all.Unwrap() {
			list = append(list, explain(e))
		}
		return strings.Join(list, "; ")
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	s, ok := status.FromError(err)
	if !ok || errors.Is(err, errNoNode) {
		return err.Error()
	}
	switch s.Code() {
	case codes.Unimplemented:
		return s.Message() + " (the agent behind this socket does not offer it)"
	case codes.Canceled:
		return "interrupted"
	case codes.Unavailable:
		return "the agent ended the connection: " + s.Message()
	}
	return s.Message()
}

package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cmd/slipway/internal/remote"
)

func (a *app) execCommand() *cobra.Command {
	var stdin, tty bool
	c := &cobra.Command{
		Use:   "exec [-it] CONTAINER [--] COMMAND [ARG...]",
		Short: "Run a command in a container",
		Long: `Run a command in a running container. The exit code is the command's; 125 is slipway's own
(no such container, no agent …).`,
		Example: "  slipway exec web cat /etc/hosts\n  slipway exec -it web sh\n  tar c . | slipway exec -i web tar x -C /data",
		Args:    positional(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			id, err := n.container(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := n.runtime.Exec(cmd.Context(), &runtimeapi.ExecRequest{
				ContainerId: id, Cmd: afterDashes(args[1:]), Tty: tty, Stdin: stdin, Stdout: true, Stderr: !tty,
			})
			if err != nil {
				return err
			}
			code, err := a.stream(cmd.Context(), r.GetUrl(), streamOptions{stdin: stdin, tty: tty})
			if err == nil && code != 0 {
				err = exitStatus(code)
			}
			return err
		},
	}
	// What follows the container belongs to the command.
	c.Flags().SetInterspersed(false)
	c.Flags().BoolVarP(&stdin, "stdin", "i", false, "connect stdin")
	c.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	return c
}

// afterDashes drops the "--" that may stand between an object and its command.
func afterDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

func (a *app) attachCommand() *cobra.Command {
	var noStdin bool
	c := &cobra.Command{
		Use:     "attach CONTAINER",
		Short:   "Connect to a running container's streams",
		Long:    "Connect to a running container's streams. Ctrl-P Ctrl-Q leaves a terminal; the container runs on.",
		Example: "  slipway attach web",
		Args:    positional(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			n, err := a.connect(ctx)
			if err != nil {
				return err
			}
			id, err := n.container(ctx, args[0])
			if err != nil {
				return err
			}
			config, err := n.containerConfig(ctx, id)
			if err != nil {
				return err
			}
			o := streamOptions{stdin: config.Stdin && !noStdin, tty: config.Tty, detach: true}
			url, err := n.attach(ctx, id, o)
			if err != nil {
				return err
			}
			_, err = a.stream(ctx, url, o)
			if errors.Is(err, remote.ErrDetached) {
				return nil
			}
			return err
		},
	}
	c.Flags().BoolVar(&noStdin, "no-stdin", false, "watch only")
	return c
}

func (n *node) attach(ctx context.Context, id string, o streamOptions) (string, error) {
	r, err := n.runtime.Attach(ctx, &runtimeapi.AttachRequest{ContainerId: id, Stdin: o.stdin, Tty: o.tty, Stdout: true, Stderr: !o.tty})
	return r.GetUrl(), err
}

// streamOptions say which local ends a stream gets.
type streamOptions struct {
	stdin, tty bool
	detach     bool // the detach keys work (with stdin and tty)
	ready      func()
}

// stream connects this process's streams to an endpoint; with a terminal on stdin and tty, every
// key goes through as it is.
func (a *app) stream(ctx context.Context, url string, o streamOptions) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := remote.Streams{Stdout: a.out, Stderr: a.err, Ready: o.ready}
	if o.stdin {
		s.Stdin = a.in
	}
	if o.tty && remote.IsTerminal(a.in) {
		f := a.in.(*os.File)
		s.Resize = remote.Sizes(ctx, f)
		if o.stdin {
			restore, err := remote.Raw(f)
			if err != nil {
				return 0, err
			}
			defer restore()
			if o.detach {
				s.Stdin = remote.Detach(f)
			}
		}
	}
	return remote.Run(ctx, url, s)
}

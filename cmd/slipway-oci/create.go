package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/runtime"
)

// createFlags are runc's of create and run. What is taken for compatibility has no effect here; what
// would have one is refused.
type createFlags struct {
	bundle      string
	o           runtime.CreateOptions
	preserveFDs int
	noPivot     bool
}

func (c *createFlags) add(f *flag.FlagSet) {
	for _, name := range []string{"bundle", "b"} {
		f.StringVar(&c.bundle, name, ".", "`directory` with config.json")
	}
	f.StringVar(&c.o.ConsoleSocket, "console-socket", "", "unix `socket` that gets the terminal's master")
	f.StringVar(&c.o.PidFile, "pid-file", "", "`file` that gets the pid")
	f.BoolVar(&c.o.NoNewKeyring, "no-new-keyring", false, "stay in the session keyring")
	f.IntVar(&c.preserveFDs, "preserve-fds", 0, "refused unless 0")
	f.BoolVar(&c.noPivot, "no-pivot", false, "refused")
}

func (c *createFlags) check() error {
	if c.preserveFDs != 0 {
		return errors.New("--preserve-fds: not supported")
	}
	if c.noPivot {
		return errors.New("--no-pivot: not supported")
	}
	return nil
}

func (c *createFlags) create(ctx context.Context, r *runtime.Runtime, id string) error {
	if err := c.check(); err != nil {
		return err
	}
	c.o.Stdio = stdio()
	return r.Create(ctx, id, c.bundle, c.o)
}

func create(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	c := &createFlags{}
	c.add(f)
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	return c.create(ctx, r, id)
}

func runContainer(ctx context.Context, a *app, f *flag.FlagSet, args []string) error {
	c := &createFlags{}
	c.add(f)
	detach := f.Bool("detach", false, "leave it running")
	f.BoolVar(detach, "d", false, "leave it running")
	keep := f.Bool("keep", false, "keep its state after its end")
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	if err := c.create(ctx, r, id); err != nil {
		return err
	}
	if err := r.Start(ctx, id); err != nil {
		return errors.Join(err, r.Delete(ctx, id, true))
	}
	if *detach {
		return nil
	}
	defer forward(func(sig syscall.Signal) { _ = r.Kill(ctx, id, sig, false) })()
	ws, err := r.Wait(ctx, id)
	if !*keep {
		err = errors.Join(err, r.Delete(ctx, id, true))
	}
	return exited(ws, err)
}

// forward passes signals on until the returned function is called.
func forward(send func(syscall.Signal)) (stop func()) {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range c {
			if sig, ok := s.(syscall.Signal); ok {
				send(sig)
			}
		}
	}()
	return func() { signal.Stop(c); close(c) }
}

// exited turns the end of a process into this one's exit code, as a shell would.
func exited(ws syscall.WaitStatus, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("wait: %w", err)
	case ws.Signaled():
		return &exitError{code: 128 + int(ws.Signal())}
	case ws.ExitStatus() != 0:
		return &exitError{code: ws.ExitStatus()}
	}
	return nil
}

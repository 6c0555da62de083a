package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/cgroups"
	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/plan"
	"github.com/slipway-cri/slipway/oci/spec"
)

// undoFor bounds a rollback, which goes on when the caller has left.
const undoFor = 30 * time.Second

// CreateOptions are what the bundle does not say.
type CreateOptions struct {
	Stdio         [3]*os.File // nil = /dev/null; unused with process.terminal
	ConsoleSocket string      // unix socket that gets the terminal's master (SCM_RIGHTS); needed with process.terminal
	PidFile       string      // gets the pid, "" for none
	NoNewKeyring  bool        // stay in the caller's session keyring
}

// creation is one Create under way.
type creation struct {
	r    *Runtime
	o    CreateOptions
	box  *box
	rec  *record
	spec *specs.Spec
	plan *plan.Plan

	console console
	cgroup  *cgroups.Cgroup
	proc    *container.Process
	undo    []func(context.Context) error
}

// Create makes container id of the bundle directory: its process waits at the start gate with everything
// set up, and process.args[0] is known to exist. The process is the caller's child, and stays when the
// caller ends. On error nothing is left. Errors: ErrExists, ErrID, those of oci/spec, *container.InitError
// for what failed inside.
func (r *Runtime) Create(ctx context.Context, id, bundle string, o CreateOptions) (err error) {
	c := &creation{r: r, o: o}
	if c.box, err = r.box(id); err != nil {
		return err
	}
	c.rec = &record{Version: recordVersion, ID: id, Created: time.Now().UTC()}
	if c.rec.Bundle, err = filepath.Abs(bundle); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	defer c.box.release()
	defer c.console.close()
	defer func() {
		if c.proc != nil {
			c.proc.Close()
		}
	}()
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"directory", c.directory},
		{"console socket", c.connect},
		{"cgroup", c.makeCgroup},
		{"clone", c.clone},
		{"record", c.recordProcess},
		{"set-up", c.setUp},
		{"pid file", c.writePid},
		{"ready", c.ready},
	} {
		if r.fault != nil {
			err = r.fault(s.name)
		}
		if err == nil {
			err = s.do(ctx)
		}
		if err != nil {
			return c.rollBack(fmt.Errorf("create %s: %w", id, err))
		}
	}
	return nil
}

func (c *creation) later(f func(context.Context) error) { c.undo = append(c.undo, f) }

// rollBack takes back what was done, newest first, and adds to err what could not be.
func (c *creation) rollBack(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoFor)
	defer cancel()
	errs := []error{err}
	for i := len(c.undo) - 1; i >= 0; i-- {
		if e := c.undo[i](ctx); e != nil {
			errs = append(errs, fmt.Errorf("undo: %w", e))
		}
	}
	return errors.Join(errs...)
}

// read parses, judges and plans, before anything exists.
func (c *creation) read() error {
	f, err := os.Open(filepath.Join(c.rec.Bundle, specFile))
	if err != nil {
		return err
	}
	defer f.Close()
	if c.spec, err = spec.ParseReader(f); err != nil {
		return err
	}
	if err := spec.Validate(c.spec); err != nil {
		return err
	}
	if err := checkTerminal(c.spec.Process.Terminal, c.o.ConsoleSocket); err != nil {
		return err
	}
	o := c.r.options
	o.Bundle, o.KeepKeyring = c.rec.Bundle, c.o.NoNewKeyring
	if c.plan, err = plan.Make(c.spec, o); err != nil {
		return err
	}
	if c.plan.CloneFlags&unix.CLONE_NEWUSER != 0 || c.plan.JoinUser != "" {
		return fmt.Errorf("linux.namespaces: user: %w", spec.ErrUnsupported)
	}
	c.rec.Rootfs = c.plan.Init.Root.Bind
	if st, err := os.Stat(c.rec.Rootfs); err != nil {
		return fmt.Errorf("root.path: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("root.path: %q is no directory: %w", c.rec.Rootfs, spec.ErrInvalid)
	}
	c.rec.OCIVersion, c.rec.Annotations = c.spec.Version, c.spec.Annotations
	c.rec.Cgroup = c.plan.Cgroup
	if c.rec.Cgroup == "" {
		c.rec.Cgroup = "/slipway-oci/" + c.rec.ID
	}
	return nil
}

// directory claims the id.
func (c *creation) directory(ctx context.Context) error {
	err := os.Mkdir(c.box.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	c.later(func(context.Context) error { return os.RemoveAll(c.box.dir) })
	if err := c.box.acquire(ctx); err != nil {
		return err
	}
	if err := c.box.write(specFile, c.spec); err != nil {
		return err
	}
	if err := unix.Mkfifo(c.box.path(gateFile), 0o600); err != nil {
		return &os.PathError{Op: "mkfifo", Path: c.box.path(gateFile), Err: err}
	}
	return c.box.write(recordFile, c.rec)
}

func (c *creation) connect(context.Context) (err error) {
	if c.o.ConsoleSocket != "" {
		c.console, err = dialConsole(c.o.ConsoleSocket)
	}
	return err
}

// makeCgroup takes a cgroup that is there already only if nobody is in it and no container has it.
func (c *creation) makeCgroup(context.Context) error {
	cg, made, err := cgroups.Ensure(c.rec.Cgroup, c.plan.Resources)
	if err != nil {
		return err
	}
	if !made {
		if err := c.adopt(cg); err != nil {
			return err
		}
	}
	c.cgroup = cg
	c.rec.Cgroup = cg.Path()
	c.later(func(ctx context.Context) error { return removeCgroup(ctx, cg) })
	if made {
		return nil
	}
	return cg.Update(c.plan.Resources)
}

func (c *creation) adopt(cg *cgroups.Cgroup) error {
	pids, err := cg.Pids()
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return fmt.Errorf("cgroup %s has processes: %w", cg.Path(), ErrExists)
	}
	all, err := c.r.records()
	if err != nil {
		return err
	}
	for _, rec := range all {
		if rec.ID != c.rec.ID && rec.Cgroup == cg.Path() {
			return fmt.Errorf("cgroup %s is of container %s: %w", cg.Path(), rec.ID, ErrExists)
		}
	}
	return nil
}

// clone starts init, which does nothing before setUp releases it: should this process die on the way,
// init sees its gate close and ends.
func (c *creation) clone(context.Context) error {
	l := container.Launch{CloneFlags: c.plan.CloneFlags, PIDNS: -1, Stdio: c.o.Stdio}
	fifo, err := c.openGate()
	if err != nil {
		return err
	}
	defer fifo.Close()
	l.StartFIFO = fifo
	c.plan.Init.StartFIFO = true
	if c.spec.Process.Terminal {
		l.Stdio = [3]*os.File{}
	}
	c.proc, err = c.r.launch(&l, c.plan, c.cgroup, c.plan.JoinPID, nil)
	if err != nil {
		return err
	}
	c.later(func(ctx context.Context) error { return end(ctx, c.proc) })
	return nil
}

// openGate opens the FIFO for init: blocking, so that init waits in read, and for both ends, so that it
// needs no one at the other.
func (c *creation) openGate() (*os.File, error) {
	path := c.box.path(gateFile)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (c *creation) recordProcess(context.Context) (err error) {
	if c.rec.Process, err = identify(c.proc.Pid); err != nil {
		return err
	}
	return c.box.write(recordFile, c.rec)
}

func (c *creation) setUp(ctx context.Context) error {
	return settle(ctx, c.proc, &c.console)
}

func (c *creation) writePid(context.Context) error {
	if c.o.PidFile == "" {
		return nil
	}
	c.later(func(context.Context) error { return os.Remove(c.o.PidFile) })
	return writePid(c.o.PidFile, c.proc.Pid)
}

func (c *creation) ready(context.Context) error {
	c.rec.Ready = true
	return c.box.write(recordFile, c.rec)
}

// launch clones init into the cgroup; target, where not nil, is the pidfd of an exec's container.
func (r *Runtime) launch(l *container.Launch, p *plan.Plan, cg *cgroups.Cgroup, pidns string, target *os.File) (*container.Process, error) {
	init, err := container.InitMemfd(r.init)
	if err != nil {
		return nil, err
	}
	defer init.Close()
	l.Init, l.Target, l.CgroupFD = init, -1, -1
	if target != nil {
		l.Target = int(target.Fd())
	}
	dir, err := cg.OpenDir()
	if err != nil {
		return nil, err
	}
	if dir != nil {
		defer dir.Close()
		l.CgroupFD = int(dir.Fd())
	}
	if pidns != "" {
		f, err := os.Open(pidns)
		if err != nil {
			return nil, fmt.Errorf("pid namespace to join: %w", err)
		}
		defer f.Close()
		l.PIDNS = int(f.Fd())
	}
	p.Init.Cgroups = cg.TasksFiles()
	l.Config = p.Init.Encode()
	return container.Start(*l)
}

// settle releases init, waits until it is ready and hands its terminal on.
func settle(ctx context.Context, p *container.Process, to *console) error {
	ctx, cancel := context.WithTimeout(ctx, container.Deadline)
	defer cancel()
	// EPIPE: init is gone, and its report says why.
	if err := p.Release(); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	master, err := p.WaitReady(ctx)
	if err != nil {
		return err
	}
	if master == nil {
		return nil
	}
	defer master.Close()
	return to.send(master)
}

// end kills and reaps a process that this one has launched.
func end(ctx context.Context, p *container.Process) error {
	err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGKILL, nil, 0)
	if err == nil {
		err = await(ctx, int(p.Pidfd.Fd()), unix.POLLIN)
	}
	_, _ = unix.Wait4(p.Pid, nil, unix.WNOHANG, nil)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func writePid(path string, pid int) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func removeCgroup(ctx context.Context, cg *cgroups.Cgroup) error {
	if err := cg.KillAll(ctx); err != nil {
		return err
	}
	if err := cg.Destroy(ctx); err != nil {
		return err
	}
	cg.RemoveParents("")
	return nil
}

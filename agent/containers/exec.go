package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/runtime"
)

const (
	// syncOutputLimit bounds each of an ExecSync's two outputs, in bytes (CVE-2022-31030); more is thrown away.
	syncOutputLimit = 16 << 20
	// drainWait bounds how long an output that a left-over child keeps open is still read after the exec ended.
	drainWait = 2 * time.Second
)

// started is an exec on its way.
type started struct {
	id   string
	exec *runtime.Exec
}

// exec launches cmd in a running container. The caller closes its copies of the streams.
func (c *Containers) exec(ctx context.Context, id string, cmd []string, tty bool, stdio [3]*os.File) (*started, error) {
	if len(cmd) == 0 {
		return nil, fmt.Errorf("exec in container %s: no command: %w", id, lifecycle.ErrInvalid)
	}
	e, err := c.inv.Find(id)
	if err != nil {
		return nil, err
	}
	v := e.Snapshot()
	if v.State != lifecycle.ContainerRunning {
		return nil, fmt.Errorf("exec in container %s: it is %s: %w", v.ID, v.State, lifecycle.ErrState)
	}
	spec, err := c.keptSpec(e)
	if err != nil {
		return nil, err
	}
	s := &started{id: inventory.NewID()}
	s.exec, err = c.o.Runtime.Exec(ctx, v.ID, runtime.ExecSpec{
		ID: s.id, Process: ocispec.Exec(spec, cmd, tty), Stdio: stdio,
	}, spec)
	if err != nil {
		return nil, fmt.Errorf("exec %q in container %s: %w", cmd[0], v.ID, err)
	}
	return s, nil
}

// keptSpec reads the spec at a container's first exec; probes come every few seconds.
func (c *Containers) keptSpec(e *inventory.Entry[Container]) (*specs.Spec, error) {
	end := c.end(e.ID)
	if end == nil {
		return nil, fmt.Errorf("container %s: %w", e.ID, lifecycle.ErrNotFound)
	}
	c.mu.Lock()
	spec := end.spec
	c.mu.Unlock()
	if spec != nil {
		return spec, nil
	}
	spec, err := c.Spec(e.ID)
	if err != nil {
		return nil, err
	}
	spec.Mounts, spec.Annotations = nil, nil // not an exec's business, and half of its size
	c.mu.Lock()
	end.spec = spec
	c.mu.Unlock()
	return spec, nil
}

// ExecSync runs cmd and returns its output and exit code. A timeout (0 = none) kills the exec with
// its whole session and is lifecycle.ErrTimeout.
func (c *Containers) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int32, err error) {
	out, err := newCapture()
	if err != nil {
		return nil, nil, 0, err
	}
	defer out.close()
	errs, err := newCapture()
	if err != nil {
		return nil, nil, 0, err
	}
	defer errs.close()
	s, err := c.exec(ctx, id, cmd, false, [3]*os.File{nil, out.write, errs.write})
	if err != nil {
		return nil, nil, 0, err
	}
	out.start()
	errs.start()
	exit, err := c.wait(ctx, s, timeout)
	until := time.Now().Add(drainWait)
	stdout, stderr = out.finish(until), errs.finish(until)
	if err != nil {
		return stdout, stderr, 0, fmt.Errorf("exec %q in container %s: %w", cmd[0], id, err)
	}
	return stdout, stderr, int32(exit.Code), nil
}

// wait waits for the exec's end; when the timeout passes or the caller leaves, it is killed first.
func (c *Containers) wait(ctx context.Context, s *started, timeout time.Duration) (runtime.Exit, error) {
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	var cause error
	select {
	case x := <-s.exec.Done:
		return x, nil
	case <-expired:
		cause = fmt.Errorf("no end within %s: %w", timeout, lifecycle.ErrTimeout)
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	killCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWait)
	defer cancel()
	if err := c.o.Runtime.KillExec(killCtx, s.id); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
		return runtime.Exit{}, errors.Join(cause, err)
	}
	select {
	case x := <-s.exec.Done: // of its own or of the kill, which look the same from here
		return x, cause
	case <-killCtx.Done():
		return runtime.Exit{}, errors.Join(cause, fmt.Errorf("killed but not gone after %s", killWait))
	}
}

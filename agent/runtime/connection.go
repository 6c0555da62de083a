package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/monitor"
)

// settle bounds what is done about processes whose monitor has died.
const settle = 30 * time.Second

// monitor is the connection; while there is none it waits for the next, or for ctx.
func (r *Runtime) monitor(ctx context.Context) (Monitor, error) {
	for {
		r.mu.Lock()
		m, back, closed := r.m, r.back, r.closed
		r.mu.Unlock()
		switch {
		case closed:
			return nil, fmt.Errorf("the runtime is closed: %w", lifecycle.ErrUnavailable)
		case m != nil:
			return m, nil
		}
		select {
		case <-back:
		case <-ctx.Done():
			return nil, fmt.Errorf("no connection to the monitor: %w: %w", lifecycle.ErrUnavailable, ctx.Err())
		}
	}
}

// takeOver brings the table in line with a newly connected monitor, and serves its exits.
func (r *Runtime) takeOver(ctx context.Context, m Monitor) error {
	list, err := m.List(ctx)
	if err != nil {
		return fmt.Errorf("list the monitor's processes: %w", err)
	}
	known := map[string]bool{}
	for _, p := range list {
		known[p.ID] = true
		r.adopt(ctx, m, p)
	}
	var lost []*process
	for _, p := range r.procs.all() {
		if !known[p.id] && p.launched() {
			lost = append(lost, p)
			p.signal()
		}
	}
	for _, p := range lost {
		r.lose(ctx, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return m.Close()
	}
	r.m = m
	close(r.back)
	r.served.Go(func() { r.serve(m) })
	return nil
}

// adopt enters a process of the monitor's list.
func (r *Runtime) adopt(ctx context.Context, m Monitor, p monitor.Process) {
	if p.Exit == nil {
		_, _ = r.procs.add(&process{id: p.ID, kind: p.Kind, pid: p.Pid, pidfd: openPidfd(p.Pid)}) // it may be ours already
		return
	}
	// An exit from before this connection; a container's is also in Live, which tells
	// recovery: only who waits in this process needs it here.
	if known := r.procs.get(p.ID); known != nil {
		r.exited(*p.Exit)
	} else if p.Kind == monitor.KindExec {
		_ = m.Forget(ctx, p.ID) // nobody waits for it any more; List shows it again if this fails
	}
}

// serve routes exits until the connection ends, then makes a new one, unless it was
// closed on purpose.
func (r *Runtime) serve(m Monitor) {
	for e := range m.Exits() {
		r.exited(e)
	}
	r.mu.Lock()
	if r.closed || r.m != m {
		r.mu.Unlock()
		return
	}
	r.m, r.back = nil, make(chan struct{})
	r.mu.Unlock()
	_ = m.Close()
	r.log.Warn("lost the connection to the monitor; connecting again")
	r.served.Go(r.reconnect)
}

// reconnect goes on until it succeeds: without a monitor the node can do nothing.
func (r *Runtime) reconnect() {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if r.isClosed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), settle)
		m, err := r.doors.connect(ctx)
		if err == nil {
			if err = r.takeOver(ctx, m); err != nil {
				_ = m.Close()
			}
		}
		cancel()
		if err == nil {
			r.reconnects.Add(1)
			r.log.Info("connected to the monitor again")
			return
		}
		r.log.WithError(err).Error("no connection to the monitor; trying again")
		time.Sleep(wait) // backing off: there is nothing to wait for
	}
}

func (r *Runtime) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// lose settles a process that a new monitor does not know: its parent has died, so its
// streams are broken and its exit is nobody's to collect. It was sent SIGKILL; its exit is
// what the old monitor recorded, else unknown. A pod's PID 1 is not waited for: it ends
// when all in its namespace were reaped, which is now up to the node's own PID 1.
func (r *Runtime) lose(ctx context.Context, p *process) {
	log := r.log.WithField("process", p.id)
	if p.kind == monitor.KindContainer {
		if err := p.wait(ctx); err != nil {
			log.WithError(err).Warn("a process without a monitor does not end")
		}
		if cg := p.cgroup; cg != nil {
			if err := cg.KillAll(ctx); err != nil {
				log.WithError(err).Warn("a container without a monitor does not end")
			}
		}
	}
	if e, err := monitor.ReadExit(r.l.ExitDir(), p.id); err == nil {
		r.exited(e)
		return
	}
	r.route(p.id, Exit{ID: p.id, Code: 255, Unknown: true, FinishedAt: time.Now()})
}

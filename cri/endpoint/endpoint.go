// Package endpoint is one agent behind its socket: it opens the agent, puts CRI, the streaming
// server and the extension service on it, serves until it is told to end, and closes or drains the
// agent. `slipway serve` and tests of a whole node are its callers.
package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent"
	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/agent/runtime"
	"github.com/slipway-cri/slipway/cri/extension"
	"github.com/slipway-cri/slipway/cri/server"
	"github.com/slipway-cri/slipway/cri/streaming"
)

// stopTimeout bounds how long calls under way may take when the agent ends; every verb is safe to repeat.
const stopTimeout = 5 * time.Second

// handlers are the names of the one runtime and its configured variants, and what it can do on this machine.
func handlers(h runtime.Host, names []string) []server.Handler {
	var list []server.Handler
	for _, name := range names {
		list = append(list, server.Handler{Name: name, RecursiveReadOnlyMounts: h.RecursiveReadOnly, UserNamespaces: h.UserNamespaces})
	}
	return list
}

// drainSlack is what a drain may take beyond the containers' grace.
const drainSlack = time.Minute

// Options are what an endpoint needs.
type Options struct {
	Agent   agent.Options
	Version string
	// Ready is called once the socket answers; nil is allowed.
	Ready func()
}

// Run serves until ctx ends. Then it drains the agent, if the configuration or a Down call says so, or
// leaves its containers running. The error is of the start, of serving, or of the end.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l, err := server.Listen(o.Agent.Config.Socket) // first: a socket in use says it all, before anything is touched
	if err != nil {
		return err
	}
	o.Agent.Version = o.Version
	a, err := agent.New(ctx, o.Agent)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	drain := o.Agent.Config.Stop.DrainOnExit
	down := func(context.Context) error {
		cancel(errDown)
		return nil
	}
	watch, err := observe(a, o)
	if err != nil {
		return errors.Join(err, l.Close(), a.Close())
	}
	srv, streams, err := assemble(a, o, watch.observers, down)
	if err != nil {
		return errors.Join(err, watch.close(ctx), l.Close(), a.Close())
	}
	served := make(chan error, 3)
	go func() { served <- srv.Serve(l) }()
	go func() { served <- streams.Serve() }()
	if watch.metrics != nil {
		go func() { served <- watch.serve() }()
	}
	if o.Ready != nil {
		o.Ready()
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-served:
	}
	stopCtx, stopped := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stopped()
	srv.Stop(stopCtx)
	err = errors.Join(err, streams.Close(), watch.close(stopCtx))
	if drain || errors.Is(context.Cause(ctx), errDown) {
		err = errors.Join(err, drainAgent(ctx, a, o.Agent.Config))
	}
	return errors.Join(err, a.Close())
}

// errDown is why ctx ended when a client asked for the end of everything.
var errDown = errors.New("a client asked the agent to end with all its pods")

func drainAgent(ctx context.Context, a *agent.Agent, c config.Config) error {
	grace := time.Duration(c.Stop.DrainGrace)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace+drainSlack)
	defer cancel()
	return a.Drain(ctx, grace)
}

// assemble puts the three services on the agent.
func assemble(a *agent.Agent, o Options, observers []server.Observer, down func(context.Context) error) (*server.Server, *streaming.Server, error) {
	log := o.Agent.Log
	if log == nil {
		log = logrus.StandardLogger()
	}
	streams, err := streaming.New(streaming.Options{
		Containers: a.Containers, Pods: a.Pods,
		Addr: a.Config.Streaming.Address, IdleTimeout: time.Duration(a.Config.Streaming.IdleTimeout), Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	srv, err := server.New(server.Options{
		Pods: a.Pods, Containers: a.Containers, Images: a.Images, Stats: a.Stats, Events: a.Events, Node: a, Streams: streams,
		Version: o.Version, Config: a.Config, Log: log, Observers: observers,
		Handlers: handlers(a.Host(), a.Config.Runtime.HandlerNames()), Features: server.Features{
			MountOptions: true, SupplementalGroupsPolicy: true, UserNamespacesHostNetwork: a.Host().UserNamespaces,
		},
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("CRI server: %w", err), streams.Close())
	}
	extension.Register(srv.Registrar(), &extension.Server{Images: a.Images, Down: down})
	return srv, streams, nil
}

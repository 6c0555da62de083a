package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent"
	"github.com/slipway-cri/slipway/cri/scrape"
	"github.com/slipway-cri/slipway/cri/server"
	"github.com/slipway-cri/slipway/cri/tracing"
)

// observation is what watches the calls: nothing at all unless the configuration asks for it.
type observation struct {
	observers []server.Observer
	tracer    *tracing.Tracer // nil = off
	metrics   *scrape.Server  // nil = off
	listener  net.Listener    // of metrics
}

func observe(a *agent.Agent, o Options) (*observation, error) {
	log := o.Agent.Log
	if log == nil {
		log = logrus.StandardLogger()
	}
	w := &observation{}
	if err := w.trace(a, o, log); err != nil {
		return nil, err
	}
	network, address := a.Config.Metrics.Listen()
	if network == "" {
		return w, nil
	}
	var err error
	if network == "unix" {
		w.listener, err = server.Listen(address)
	} else {
		w.listener, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metrics.address: %w", err), w.close(context.Background()))
	}
	from := scrape.Sources{
		Pods: a.Pods.List, Containers: a.Containers.List, Images: a.Images.List, Pulls: a.ImagePulls,
		Reconnects: a.MonitorReconnects, Version: o.Version,
	}
	if w.tracer != nil {
		from.SpansDropped = w.tracer.Dropped
	}
	m := scrape.New(from, runtimeapi.RuntimeService_ServiceDesc, runtimeapi.ImageService_ServiceDesc)
	w.metrics = scrape.NewServer(m)
	w.observers = append(w.observers, m)
	log.WithField("address", w.listener.Addr()).Info("metrics are served at /metrics")
	return w, nil
}

func (w *observation) trace(a *agent.Agent, o Options, log *logrus.Logger) error {
	c := a.Config.Tracing
	opts := tracing.Options{Endpoint: c.Endpoint, Insecure: c.Insecure, Sampling: c.Sampling, Version: o.Version, Log: log}
	if err := tracing.Environment(&opts, os.Getenv); err != nil {
		return err
	}
	if opts.Endpoint == "" {
		return nil
	}
	opts.Node, _ = os.Hostname()
	var err error
	if w.tracer, err = tracing.New(opts); err != nil {
		return err
	}
	w.observers = append(w.observers, w.tracer)
	log.WithFields(logrus.Fields{"endpoint": opts.Endpoint, "sampling": opts.Sampling}).Info("calls are traced")
	return nil
}

// serve answers scrapes until close; w.metrics is there.
func (w *observation) serve() error {
	if err := w.metrics.Serve(w.listener); err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// close sends the last spans, until ctx ends.
func (w *observation) close(ctx context.Context) error {
	var errs []error
	if w.metrics != nil {
		errs = append(errs, w.metrics.Close())
	}
	if w.tracer != nil {
		errs = append(errs, w.tracer.Close(ctx))
	}
	return errors.Join(errs...)
}

package agent

import (
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/nri"
	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/pods"
)

// openNRI makes NRI's side of the hooks; both are nil where it is off.
func (a *Agent) openNRI(version string, host ocispec.Host) (pods.Hooks, containers.Hooks, error) {
	c := a.Config.NRI
	if !c.Enable {
		return nil, nil, nil
	}
	if c.Socket == "" {
		c.Socket = a.Layout.NRISocket()
	}
	var inject func(*specs.Spec, []string) error
	if host.CDI != nil {
		inject = func(s *specs.Spec, names []string) error { return host.CDI(s, names, nil) }
	}
	var err error
	a.nri, err = nri.New(nri.Options{
		Socket: c.Socket, NoSocket: c.DisableConnections,
		PluginDir: c.PluginDir, PluginConfigDir: c.PluginConfigDir,
		RegistrationTimeout: time.Duration(c.RegisterTimeout), RequestTimeout: time.Duration(c.RequestTimeout),
		Version: version, Swap: host.Swap, OOMScoreMin: host.OOMScoreMin, InjectCDI: inject, Log: a.log,
	})
	if err != nil {
		return nil, nil, err
	}
	return a.nri, a.nri, nil
}

// startNRI lets plugins in, once there is a whole to show them.
func (a *Agent) startNRI() error {
	if a.nri == nil {
		return nil
	}
	if err := a.nri.Start(a.Pods, a.Containers); err != nil {
		return err
	}
	a.closers = append(a.closers, a.nri.Close)
	return nil
}

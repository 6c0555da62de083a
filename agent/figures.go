package agent

import "github.com/slipway-cri/slipway/agent/images"

// MonitorReconnects is how often the lost connection to the monitor was made again.
func (a *Agent) MonitorReconnects() uint64 { return a.runtime.Reconnects() }

// ImagePulls counts this process's pulls.
func (a *Agent) ImagePulls() images.Pulls {
	if local, ok := a.Images.(*images.Local); ok {
		return local.Pulls()
	}
	return images.Pulls{}
}

package server

import (
	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/stats"
	"github.com/slipway-cri/slipway/cri/streaming"
)

// The agent's services are what the server and the streams ask for.
var (
	_ Pods                 = (*pods.Pods)(nil)
	_ Containers           = (*containers.Containers)(nil)
	_ Images               = images.Service(nil)
	_ Stats                = (*stats.Stats)(nil)
	_ Events               = (*events.Bus)(nil)
	_ Streams              = (*streaming.Server)(nil)
	_ streaming.Pods       = (*pods.Pods)(nil)
	_ streaming.Containers = (*containers.Containers)(nil)
)

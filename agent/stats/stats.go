// Package stats turns cgroup readings, the network namespace's counters and the writable
// layer's size into usage of pods and containers. It keeps what a rate and a cached size
// need, nothing else; it owns no pod and no container. All methods may be called
// concurrently; a list is one pass without a goroutine for each entry.
package stats

import (
	"time"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/pods"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// Container is one container's usage.
type Container struct {
	Container                     *containers.Container
	Usage                         *runtime.Usage // nil where it does not run
	NanoCores                     uint64         // CPU rate since the previous reading, 0 at the first
	WritableBytes, WritableInodes uint64
	WritableAt                    time.Time
	WritableDir                   string
}

// Interface is one network interface's counters.
type Interface struct {
	Name                                  string
	RxBytes, RxPackets, RxErrors, RxDrops uint64
	TxBytes, TxPackets, TxErrors, TxDrops uint64
}

// Pod is one pod's usage.
type Pod struct {
	Pod        *pods.Pod
	Usage      *runtime.Usage
	NanoCores  uint64
	Interfaces []Interface // eth0 first
	Containers []Container
}

// Package stats turns cgroup readings, the network namespace's counters and the writable
// layer's size into usage of pods and containers.
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
	Name                       string
	RxBytes, RxErrors, RxDrops uint64
	TxBytes, TxErrors, TxDrops uint64
}

// Pod is one pod's usage.
type Pod struct {
	Pod        *pods.Pod
	Usage      *runtime.Usage
	NanoCores  uint64
	Interfaces []Interface // eth0 first
	Containers []Container
}

// Service (implemented by *Stats):
//
//	Container(ctx, id string) (*Container, error)
//	Containers(ctx, filter func(*containers.Container) bool) ([]Container, error)
//	Pod(ctx, id string) (*Pod, error)
//	Pods(ctx, filter func(*pods.Pod) bool) ([]Pod, error)

// Command slipway-init is the first code in every container. slipway-monitor starts it
// from a sealed memfd; it has no use by hand.
package main

import (
	"runtime"

	"github.com/slipway-cri/slipway/oci/initproc"
)

// The thread that execs in the end must be the process's first: its id is the process's.
func init() { runtime.LockOSThread() }

func main() { initproc.Main() }

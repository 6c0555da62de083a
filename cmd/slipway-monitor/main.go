// Command slipway-monitor is the node's container monitor: the parent of every container
// process, their logs and their exits. The agent starts it; see agent/monitor.
package main

import (
	"os"

	"github.com/slipway-cri/slipway/agent/monitor"
)

func main() { os.Exit(monitor.Main()) }

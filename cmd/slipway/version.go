package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// version is set by the linker (-X main.version=…); else it is the commit that Go recorded.
var version = ""

func clientVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "0.0.0-unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "0.0.0-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "0.0.0-devel"
}

func (a *app) versionCommand() *cobra.Command {
	var client bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this command and of the agent",
		Example: "  slipway version\n  slipway version --client",
		Args:    positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := map[string]string{"client": clientVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if !client {
				n, err := a.connect(cmd.Context())
				if err != nil {
					return err
				}
				r, err := n.runtime.Version(cmd.Context(), &runtimeapi.VersionRequest{})
				if err != nil {
					return err
				}
				v["agent"], v["runtime"], v["api"] = r.GetRuntimeVersion(), r.GetRuntimeName(), r.GetRuntimeApiVersion()
			}
			if a.json() {
				return printJSON(a.out, v)
			}
			fmt.Fprintf(a.out, "client  %s (%s, %s)\n", v["client"], v["go"], v["platform"])
			if !client {
				fmt.Fprintf(a.out, "agent   %s %s (CRI %s)\n", v["runtime"], v["agent"], v["api"])
			}
			return nil
		},
	}
	c.Flags().BoolVar(&client, "client", false, "this command only; needs no agent")
	return c
}

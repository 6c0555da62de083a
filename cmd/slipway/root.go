package main

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipway-cri/slipway/agent/layout"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "A Kubernetes node agent, and its client",
		Long: `Slipway runs pods and containers for a kubelet, for crictl and for people.

"slipway serve" is the agent. The other commands talk to it through its socket.`,
		Example: `  slipway serve &
  slipway run --rm -it docker.io/library/busybox:latest
  slipway ps
  slipway logs -f web`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          positional(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", cmp.Or(os.Getenv("SLIPWAY_SOCKET"), "unix://"+layout.DefaultState+"/slipway.sock"),
		"the agent's socket (SLIPWAY_SOCKET)")
	f.StringVarP(&a.format, "output", "o", "table", "table or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.format != "table" && a.format != "json" && (a.format != "svg" || cmd.Name() != "trace") {
			return usagef("--output %q: want table or json", a.format)
		}
		return nil
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "run", Title: "Pods and containers:"}, &cobra.Group{ID: "image", Title: "Images:"},
		&cobra.Group{ID: "node", Title: "The node:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	run := a.completes(a.runCommand(), 1, imageNames)
	_ = run.RegisterFlagCompletionFunc("pod", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return a.list(podNames), cobra.ShellCompDirectiveNoFileComp
	})
	add("run", run, a.podsCommand(), a.psCommand(),
		a.completes(a.logsCommand(), 1, containerNames), a.completes(a.execCommand(), 1, containerNames),
		a.completes(a.attachCommand(), 1, containerNames), a.completes(a.portForwardCommand(), 1, podNames),
		a.completes(a.stopCommand(), 0, podNames, containerNames), a.completes(a.rmCommand(), 0, podNames, containerNames),
		a.completes(a.statsCommand(), 0, containerNames), a.completes(a.inspectCommand(), 1, podNames, containerNames, imageNames),
		a.completes(a.traceCommand(), 1, podNames))
	add("image", a.imagesCommand(), a.pullCommand(), a.loadCommand(), a.completes(a.saveCommand(), 0, imageNames),
		a.completes(a.rmiCommand(), 0, imageNames))
	add("node", a.serveCommand(), a.checkCommand(), a.configCommand(), a.downCommand(), a.versionCommand())
	return root
}

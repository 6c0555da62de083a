package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-cri/slipway/agent/config"
)

func (a *app) configCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "config",
		Short:   "Print the agent's configuration with comments",
		Long:    "Print the defaults as TOML with comments, or with --config what a file makes of them. A wrong file is an error that gives the line.",
		Example: "  slipway config > " + config.DefaultFile + "\n  slipway config --config my.toml",
		Args:    positional(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c := config.Default()
			if file != "" {
				var err error
				if c, err = config.Load(file); err != nil {
					return err
				}
				checked := c
				if err := checked.Check(); err != nil {
					return err
				}
			}
			if a.json() {
				return printJSON(a.out, c)
			}
			b, err := c.TOML()
			if err != nil {
				return err
			}
			_, err = a.out.Write(b)
			return err
		},
	}
	c.Flags().StringVar(&file, "config", "", "check and print this file instead of the defaults")
	return c
}

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/slipway-cri/slipway/agent/check"
	"github.com/slipway-cri/slipway/agent/config"
)

func (a *app) checkCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check whether this machine can run the agent",
		Long: `Check this machine's kernel features and set-up: ok, or limited and missing with what that costs.
The exit code is 1 when something is missing. It needs no agent, but root.`,
		Example: "  slipway check\n  slipway check -o json",
		Args:    positional(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			if err := c.Check(); err != nil {
				return err
			}
			items := check.Node(c)
			if a.json() {
				err = printJSON(a.out, items)
			} else {
				err = table(a.out, checkRows(items))
			}
			if err == nil && !check.Ready(items) {
				err = errors.New("this machine cannot run the agent: see what is missing above")
			}
			return err
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (default "+config.DefaultFile+", if it is there)")
	return c
}

func checkRows(items []check.Item) [][]string {
	rows := [][]string{{"WHAT", "STATE", "DETAIL"}}
	for _, i := range items {
		detail := i.Found
		if i.Cost != "" {
			if detail != "" {
				detail += ": "
			}
			detail += i.Cost
		}
		rows = append(rows, []string{i.Name, string(i.State), detail})
	}
	return rows
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/slipway-cri/slipway/agent"
	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/cri/endpoint"
)

func (a *app) serveCommand() *cobra.Command {
	var file, root, state, level, cniDir string
	var drain bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the agent",
		Long: `Run the node agent until SIGTERM. The containers run on when it ends, and the next
agent finds them; --drain-on-exit, or "slipway down", ends them and the monitor too.

With --root and --state several agents live side by side: their directories, sockets, bridges and
cgroups have names of their own.`,
		Example: `  slipway serve
  slipway serve --root /tmp/a/root --state /tmp/a/run --socket unix:///tmp/a/slipway.sock
  slipway config > /etc/slipway/config.toml`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			for flag, set := range map[string]func(){
				"root":          func() { cfg.Root = absolute(root) },
				"state":         func() { cfg.State = absolute(state) },
				"socket":        func() { cfg.Socket = a.socket },
				"log-level":     func() { cfg.Log.Level = level },
				"cni-conf-dir":  func() { cfg.Network.CNIConfDir = cniDir },
				"drain-on-exit": func() { cfg.Stop.DrainOnExit = drain },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			if err := cfg.Check(); err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "configuration file (default "+config.DefaultFile+", if it is there)")
	f.StringVar(&root, "root", "", "images, container layers and records (default /var/lib/slipway)")
	f.StringVar(&state, "state", "", "sockets and live state (default /run/slipway)")
	f.StringVar(&level, "log-level", "", "trace, debug, info, warning or error (default info)")
	f.StringVar(&cniDir, "cni-conf-dir", "", `where CNI configurations are looked for; "none" turns CNI off (default /etc/cni/net.d)`)
	f.BoolVar(&drain, "drain-on-exit", false, "stop all pods and the monitor when the agent ends")
	return cmd
}

// absolute makes a path of the command line mean the same after the agent has changed directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (a *app) serve(ctx context.Context, cfg config.Config) error {
	log := logrus.New()
	log.SetOutput(a.err)
	level, err := logrus.ParseLevel(cfg.Log.Level)
	if err != nil {
		return err
	}
	log.SetLevel(level)
	if cfg.Log.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	}
	o := endpoint.Options{
		Agent: agent.Options{Config: cfg, Log: log}, Version: strings.TrimPrefix(clientVersion(), "v"),
		Ready: func() {
			log.WithFields(logrus.Fields{"socket": cfg.Socket, "root": cfg.Root, "state": cfg.State}).Info("slipway is ready")
		},
	}
	if err := endpoint.Run(ctx, o); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log.Info("slipway has ended")
	return nil
}

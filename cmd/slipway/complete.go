package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// completeTime is how long a press of the tab key may ask the agent.
const completeTime = 2 * time.Second

// names lists what a word of a command line may be, shortest form first.
type names func(context.Context, *node) ([]string, error)

// completes gives c the names for its first limit words (0 = all). Without an agent there are none.
func (a *app) completes(c *cobra.Command, limit int, lists ...names) *cobra.Command {
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.list(lists...), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

func (a *app) list(lists ...names) []string {
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	n, err := a.connect(ctx)
	if err != nil {
		return nil
	}
	var all []string
	for _, l := range lists {
		some, err := l(ctx, n)
		if err != nil {
			return nil
		}
		all = append(all, some...)
	}
	return all
}

func podNames(ctx context.Context, n *node) ([]string, error) {
	all, err := n.podCandidates(ctx)
	var out []string
	for _, c := range all {
		out = append(out, c.names[0])
	}
	return out, err
}

// containerNames are POD/NAME, and POD where that means a container.
func containerNames(ctx context.Context, n *node) ([]string, error) {
	all, err := n.containerCandidates(ctx)
	var out []string
	for _, c := range all {
		out = append(out, c.names[1:]...)
	}
	return out, err
}

func imageNames(ctx context.Context, n *node) ([]string, error) {
	r, err := n.image.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	var out []string
	for _, i := range r.GetImages() {
		out = append(out, i.GetRepoTags()...)
	}
	return out, err
}

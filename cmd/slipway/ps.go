package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func itoa(n uint32) string { return fmt.Sprint(n) }

func (a *app) psCommand() *cobra.Command {
	var all, quiet bool
	var pod string
	c := &cobra.Command{
		Use:     "ps",
		Short:   "List containers",
		Long:    "List running containers, or all of them with -a.",
		Example: "  slipway ps\n  slipway ps -a --pod web\n  slipway ps -q",
		Args:    positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			n, err := a.connect(ctx)
			if err != nil {
				return err
			}
			filter := &runtimeapi.ContainerFilter{}
			if !all {
				filter.State = &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}
			}
			if pod != "" {
				if filter.PodSandboxId, err = n.pod(ctx, pod); err != nil {
					return err
				}
			}
			r, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: filter})
			if err != nil {
				return err
			}
			list := r.GetContainers()
			slices.SortFunc(list, func(x, y *runtimeapi.Container) int { return cmp.Compare(y.GetCreatedAt(), x.GetCreatedAt()) })
			switch {
			case a.json():
				return printProto(a.out, &runtimeapi.ListContainersResponse{Containers: list})
			case quiet:
				for _, c := range list {
					fmt.Fprintln(a.out, c.GetId())
				}
				return nil
			}
			pods, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
			if err != nil {
				return err
			}
			return table(a.out, containerRows(list, pods.GetItems()))
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also those that do not run")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print whole ids only")
	c.Flags().StringVar(&pod, "pod", "", "of this pod only")
	return c
}

func containerRows(list []*runtimeapi.Container, pods []*runtimeapi.PodSandbox) [][]string {
	names := make(map[string]string)
	for _, p := range pods {
		names[p.GetId()] = p.GetMetadata().GetName()
	}
	rows := [][]string{{"CONTAINER ID", "NAME", "POD", "IMAGE", "STATE", "ATTEMPT", "AGE"}}
	for _, c := range list {
		image := cmp.Or(c.GetImage().GetUserSpecifiedImage(), c.GetImage().GetImage())
		if strings.HasPrefix(image, "sha256:") {
			image = shortID(image)
		}
		rows = append(rows, []string{
			shortID(c.GetId()), c.GetMetadata().GetName(), names[c.GetPodSandboxId()], image,
			stateName(c.GetState()), itoa(c.GetMetadata().GetAttempt()), age(c.GetCreatedAt()),
		})
	}
	return rows
}

func stateName(s runtimeapi.ContainerState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "CONTAINER_"))
}

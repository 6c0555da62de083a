package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (a *app) statsCommand() *cobra.Command {
	var interval time.Duration
	c := &cobra.Command{
		Use:     "stats [CONTAINER...]",
		Short:   "Print containers' use of CPU, memory and disk",
		Long:    "Print containers' use of CPU (over the interval), memory (working set) and disk (the writable layer).",
		Example: "  slipway stats\n  slipway stats --interval 5s web\n  slipway stats -o json",
		Args:    positional(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			n, err := a.connect(ctx)
			if err != nil {
				return err
			}
			var ids []string
			for _, w := range args {
				id, err := n.container(ctx, w)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			before, err := n.stats(ctx, ids)
			if err != nil {
				return err
			}
			if a.json() {
				return printProto(a.out, &runtimeapi.ListContainerStatsResponse{Stats: before})
			}
			select {
			case <-time.After(interval):
			case <-ctx.Done():
				return ctx.Err()
			}
			after, err := n.stats(ctx, ids)
			if err != nil {
				return err
			}
			pods, err := n.podNames(ctx)
			if err != nil {
				return err
			}
			return table(a.out, statsRows(before, after, pods))
		},
	}
	c.Flags().DurationVar(&interval, "interval", time.Second, "over which the CPU's use is measured")
	return c
}

func (n *node) stats(ctx context.Context, ids []string) ([]*runtimeapi.ContainerStats, error) {
	r, err := n.runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(r.GetStats(), func(s *runtimeapi.ContainerStats) bool {
		return len(ids) > 0 && !slices.Contains(ids, s.GetAttributes().GetId())
	}), nil
}

// podNames maps a container's id to its pod's name.
func (n *node) podNames(ctx context.Context) (map[string]string, error) {
	pods, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	r, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	byID := make(map[string]string)
	for _, p := range pods.GetItems() {
		byID[p.GetId()] = p.GetMetadata().GetName()
	}
	names := make(map[string]string)
	for _, c := range r.GetContainers() {
		names[c.GetId()] = byID[c.GetPodSandboxId()]
	}
	return names, nil
}

func statsRows(before, after []*runtimeapi.ContainerStats, pods map[string]string) [][]string {
	first := make(map[string]*runtimeapi.CpuUsage)
	for _, s := range before {
		first[s.GetAttributes().GetId()] = s.GetCpu()
	}
	rows := [][]string{{"CONTAINER ID", "NAME", "POD", "CPU %", "MEMORY", "DISK", "INODES"}}
	for _, s := range after {
		id := s.GetAttributes().GetId()
		rows = append(rows, []string{
			shortID(id), s.GetAttributes().GetMetadata().GetName(), pods[id], cpuPercent(first[id], s.GetCpu()),
			size(s.GetMemory().GetWorkingSetBytes().GetValue()), size(s.GetWritableLayer().GetUsedBytes().GetValue()),
			fmt.Sprint(s.GetWritableLayer().GetInodesUsed().GetValue()),
		})
	}
	return rows
}

// cpuPercent is of one CPU, "-" where two readings of one run are not there.
func cpuPercent(first, last *runtimeapi.CpuUsage) string {
	x, y := first.GetUsageCoreNanoSeconds(), last.GetUsageCoreNanoSeconds()
	elapsed := last.GetTimestamp() - first.GetTimestamp()
	if x == nil || y == nil || elapsed <= 0 || y.GetValue() < x.GetValue() {
		return "-"
	}
	return fmt.Sprintf("%.1f", 100*float64(y.GetValue()-x.GetValue())/float64(elapsed))
}

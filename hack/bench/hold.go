package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hold starts n pods, reads what the lists take and what the given processes weigh, and ends the pods.
func (t *target) hold(ctx context.Context, n int, pids []string) error {
	before, err := pss(pids)
	if err != nil {
		return err
	}
	pods := make([]started, n)
	for i := range pods {
		if pods[i], err = t.start(ctx, fmt.Sprintf("hold-%d", i)); err != nil {
			return err
		}
	}
	t.times = map[string][]time.Duration{}
	for range 20 {
		if err := t.lists(ctx); err != nil {
			return err
		}
	}
	after, err := pss(pids)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s holds %d pods\n", t.name, n)
	for _, what := range lists {
		fmt.Printf("%-22s %8.2f ms p50\n", what, quantile(t.times[what], .5))
	}
	for i, pid := range pids {
		fmt.Printf("pid %-18s %8d KiB PSS before, %d with the pods: %.1f KiB a pod\n",
			pid, before[i], after[i], float64(after[i]-before[i])/float64(n))
	}
	for _, s := range pods {
		if err := t.end(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

var lists = []string{"ListPodSandbox", "ListContainers", "ListContainerStats", "ListPodSandboxStats"}

func (t *target) lists(ctx context.Context) error {
	for what, call := range map[string]func() error{
		"ListPodSandbox": func() error {
			_, err := t.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
			return err
		},
		"ListContainers": func() error {
			_, err := t.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
			return err
		},
		"ListContainerStats": func() error {
			_, err := t.runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
			return err
		},
		"ListPodSandboxStats": func() error {
			_, err := t.runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
			return err
		},
	} {
		if err := t.timed(what, call); err != nil {
			return err
		}
	}
	return nil
}

// pss reads the proportional set size of each process in KiB (proc_pid_smaps(5)).
func pss(pids []string) ([]int, error) {
	out := make([]int, len(pids))
	for i, pid := range pids {
		data, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(data) {
			if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "Pss:" {
				if out[i], err = strconv.Atoi(f[1]); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/steps"
	"github.com/slipway-cri/slipway/cmd/slipway/internal/waterfall"
)

func (a *app) traceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "trace POD",
		Short: "Draw where the time of a pod's start went",
		Long: `Draw the start of a pod and of its containers as a waterfall: each call, its steps, and their parts.
-o svg makes a drawing for a browser. Time in which the node was not asked for anything is cut.`,
		Example: "  slipway trace web\n  slipway trace web -o svg > web.svg\n  slipway trace web -o json",
		Args:    positional(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			chart, err := n.trace(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			switch a.format {
			case "json":
				return printJSON(a.out, chart)
			case "svg":
				_, err = io.WriteString(a.out, chart.SVG())
			default:
				width, tty := columns(a.out)
				_, err = io.WriteString(a.out, chart.Text(width, tty && os.Getenv("NO_COLOR") == ""))
			}
			return err
		},
	}
}

// columns is the width of the terminal that w is, else 80 and false.
func columns(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 80, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80, true
	}
	return width, true
}

// timeline is what trace reads of a verbose status.
type timeline struct {
	CreatedAt     time.Time
	Timeline      []steps.Took
	StartCalled   time.Time
	StartTimeline []steps.Took
}

func readTimeline(info map[string]string) (t timeline, err error) {
	if err = json.Unmarshal([]byte(info["info"]), &t); err != nil {
		err = fmt.Errorf("the verbose status has no timeline: %w", err)
	}
	return t, err
}

func (n *node) trace(ctx context.Context, word string) (*waterfall.Chart, error) {
	id, err := n.pod(ctx, word)
	if err != nil {
		return nil, err
	}
	p, err := n.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return nil, err
	}
	t, err := readTimeline(p.GetInfo())
	if err != nil {
		return nil, err
	}
	if len(t.Timeline) == 0 {
		return nil, fmt.Errorf("pod %s: no timeline was kept of its start: %w", shortID(id), lifecycle.ErrNotFound)
	}
	m := p.GetStatus().GetMetadata()
	chart := &waterfall.Chart{
		Title: fmt.Sprintf("pod %s/%s (%s)", m.GetNamespace(), m.GetName(), shortID(id)), Began: t.CreatedAt,
		Calls: []waterfall.Span{callSpan("RunPodSandbox", 0, t.Timeline)},
	}
	list, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: id}})
	if err != nil {
		return nil, err
	}
	for _, c := range list.GetContainers() {
		s, err := n.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId(), Verbose: true})
		if err != nil {
			return nil, err
		}
		ct, err := readTimeline(s.GetInfo())
		if err != nil {
			return nil, err
		}
		name := c.GetMetadata().GetName()
		chart.Calls = append(chart.Calls, callSpan("CreateContainer "+name, ct.CreatedAt.Sub(t.CreatedAt), ct.Timeline))
		if len(ct.StartTimeline) > 0 {
			chart.Calls = append(chart.Calls, callSpan("StartContainer "+name, ct.StartCalled.Sub(t.CreatedAt), ct.StartTimeline))
		}
	}
	return chart, nil
}

// callSpan is a call that began at and consisted of steps.
func callSpan(name string, at time.Duration, all []steps.Took) waterfall.Span {
	s := waterfall.Span{Name: name, At: at, Parts: spans(at, all)}
	for _, step := range all {
		s.Took = max(s.Took, step.At+step.Took)
	}
	return s
}

func spans(at time.Duration, all []steps.Took) (out []waterfall.Span) {
	for _, t := range all {
		out = append(out, waterfall.Span{Name: t.Name, At: at + t.At, Took: t.Took, Parts: spans(at, t.Parts)})
	}
	return out
}

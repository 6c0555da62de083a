package server

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMetrics(t *testing.T) {
	n := start(t)
	ctx := callContext(t)
	described, err := n.runtime.ListMetricDescriptors(ctx, &runtimeapi.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]int{}
	for _, d := range described.Descriptors {
		keys[d.Name] = len(d.LabelKeys)
	}
	list, err := n.runtime.ListPodSandboxMetrics(ctx, &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.PodMetrics) != len(n.pods.list) || len(list.PodMetrics[0].ContainerMetrics) != 1 {
		t.Fatalf("%v", list.PodMetrics)
	}
	inside := list.PodMetrics[0].ContainerMetrics[0]
	if inside.ContainerId != "run1" || len(inside.Metrics) == 0 {
		t.Errorf("%v", inside)
	}
	for _, m := range inside.Metrics {
		if keys[m.Name] != len(m.LabelValues) {
			t.Errorf("%v has other labels than its descriptor", m)
		}
	}
	for i := range list.PodMetrics { // the time of a reading is a figure itself
		drop(list.PodMetrics[i])
	}
	s, err := n.runtime.StreamPodSandboxMetrics(ctx, &runtimeapi.StreamPodSandboxMetricsRequest{})
	same(t, "metrics", lines(list.PodMetrics), nil, func() []string {
		all, _ := drain(t, s, err, func(r *runtimeapi.StreamPodSandboxMetricsResponse) []*runtimeapi.PodSandboxMetrics {
			for _, p := range r.PodSandboxMetrics {
				drop(p)
			}
			return r.PodSandboxMetrics
		})
		return all
	})
}

func drop(p *runtimeapi.PodSandboxMetrics) {
	all := [][]*runtimeapi.Metric{p.Metrics}
	for _, c := range p.ContainerMetrics {
		all = append(all, c.Metrics)
	}
	for _, list := range all {
		for _, m := range list {
			if m.Name == "container_last_seen" {
				m.Value = nil
			}
		}
	}
}

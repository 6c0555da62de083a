package containers

import (
	"errors"
	"fmt"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

func TestUpdateChangesTheOOMScore(t *testing.T) {
	var calls []string
	score := 500
	set := func(pid, adj int) (int, error) {
		calls = append(calls, fmt.Sprintf("%d: %d", pid, adj))
		if adj == 999 {
			return 0, lifecycle.ErrState
		}
		before := score
		score = adj
		return before, nil
	}
	v := &Container{Pid: 42, Config: &runtimeapi.ContainerConfig{
		Linux: &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{OomScoreAdj: 500}},
	}}
	c := &Containers{o: Options{SetOOMScore: set, Host: ocispec.Host{OOMScoreMin: -10}}}
	for _, tc := range []struct {
		adj  int64
		call string
		err  error
	}{
		{0, "", nil}, {500, "", nil}, {300, "42: 300", nil}, {-998, "42: -10", nil}, {999, "42: 999", lifecycle.ErrState},
	} {
		calls, score = nil, 500
		undo, err := c.rescore(v, &runtimeapi.LinuxContainerResources{OomScoreAdj: tc.adj})
		if !errors.Is(err, tc.err) || (len(calls) > 0) != (tc.call != "") || tc.call != "" && calls[0] != tc.call {
			t.Errorf("%d: %v, %v", tc.adj, err, calls)
		}
		if err != nil {
			continue
		}
		if err := undo(); err != nil || score != 500 {
			t.Errorf("%d taken back: %d %v", tc.adj, score, err)
		}
	}
	c.o.SetOOMScore = nil
	if _, err := c.rescore(v, &runtimeapi.LinuxContainerResources{OomScoreAdj: 1}); !errors.Is(err, lifecycle.ErrUnsupported) {
		t.Errorf("without the means: %v", err)
	}
}

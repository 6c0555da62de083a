package containers

import (
	"testing"

	"github.com/slipway-cri/slipway/agent/steps"
)

func names(all []steps.Took) (out []string) {
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

// TestStartHasATimeline: the steps of a start are kept, over a restart of the agent too.
func TestStartHasATimeline(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "a")
	if v := f.get(t, id); v.StartTimeline != nil || !v.StartCalled.IsZero() {
		t.Errorf("before the start: %v %v", v.StartCalled, v.StartTimeline)
	}
	if err := f.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	v := f.get(t, id)
	if got := names(v.StartTimeline); len(got) != 2 || got[0] != "record" || got[1] != "exec" || v.StartCalled.Before(v.CreatedAt) {
		t.Errorf("%v %v", v.StartCalled, v.StartTimeline)
	}
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if again := f.get(t, id); len(again.StartTimeline) != 2 || !again.StartCalled.Equal(v.StartCalled) || len(again.Timeline) != len(v.Timeline) {
		t.Errorf("after a restart: %+v", again)
	}
}

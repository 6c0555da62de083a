package steps

import (
	"context"
	"errors"
	"testing"
	"time"
)

type seen struct {
	began time.Time
	all   []Took
	err   error
	n     int
}

func (s *seen) Ran(began time.Time, all []Took, err error) {
	s.began, s.all, s.err, s.n = began, append([]Took(nil), all...), err, s.n+1
}

func TestObserverSeesStepsAndLaps(t *testing.T) {
	boom := errors.New("boom")
	undone := false
	all := []Step{
		{Name: "a", Do: func(ctx context.Context) error {
			Lap(ctx, "a1")
			Lap(ctx, "a2")
			return nil
		}, Undo: func(ctx context.Context) error { Lap(ctx, "none"); undone = true; return nil }},
		{Name: "b", Do: func(ctx context.Context) error { Lap(ctx, "b1"); return boom }},
		{Name: "c", Do: func(context.Context) error { return nil }},
	}
	var s seen
	before := time.Now()
	var also seen
	times, err := Run(Observe(Observe(t.Context(), &also), &s), all)
	if !errors.Is(err, boom) || !errors.Is(s.err, boom) || s.n != 1 || also.n != 1 || !undone || s.began.Before(before) {
		t.Fatalf("%v, observed %+v", err, s)
	}
	if len(times) != 2 || len(s.all) != 2 || len(times[0].Parts) != 2 || len(times[1].Parts) != 1 {
		t.Fatalf("%+v", times)
	}
	a := times[0]
	if a.Parts[0].At != a.At || a.Parts[1].At != a.Parts[0].At+a.Parts[0].Took || a.Parts[1].Name != "a2" {
		t.Errorf("laps do not follow each other: %+v", a)
	}
	if end := a.Parts[1].At + a.Parts[1].Took; end > a.At+a.Took || times[1].At < a.At+a.Took {
		t.Errorf("laps or steps overlap: %+v", times)
	}
}

func TestLapOutsideOfSteps(t *testing.T) {
	Lap(t.Context(), "nowhere")
	w, ctx := Begin(t.Context(), 1)
	Lap(ctx, "too early")
	if err := w.Do(ctx, "one", func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	Lap(ctx, "too late")
	w.End(ctx, nil) // nobody watches
	if all := w.Took(); len(all) != 1 || all[0].Parts != nil {
		t.Errorf("%+v", all)
	}
}

// BenchmarkRun is what the watch costs a verb of five steps with two laps each.
func BenchmarkRun(b *testing.B) {
	nothing := func(ctx context.Context) error { Lap(ctx, "x"); Lap(ctx, "y"); return nil }
	all := make([]Step, 5)
	for i := range all {
		all[i] = Step{Name: "s", Do: nothing}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(context.Background(), all); err != nil {
			b.Fatal(err)
		}
	}
}

package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// recorder makes n steps that write down what happens and fails at step fail (0-based).
func recorder(n, fail int, log *[]string) []Step {
	var all []Step
	for i := range n {
		all = append(all, Step{
			Name: fmt.Sprint("s", i),
			Do: func(context.Context) error {
				*log = append(*log, fmt.Sprint("do", i))
				if i == fail {
					return errors.New("boom")
				}
				return nil
			},
			Undo: func(ctx context.Context) error {
				*log = append(*log, fmt.Sprint("undo", i))
				return ctx.Err()
			},
		})
	}
	return all
}

func TestRollbackAtEveryStep(t *testing.T) {
	for fail := range 4 {
		var log []string
		ctx, cancel := context.WithCancel(t.Context())
		all := recorder(4, fail, &log)
		inner := all[fail].Do
		all[fail].Do = func(c context.Context) error { cancel(); return inner(c) } // the caller is gone as well
		_, err := Run(ctx, all)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint("s", fail, ": boom")) || strings.Contains(err.Error(), "undo") {
			t.Errorf("fail at %d: %v", fail, err)
		}
		var want []string
		for i := range fail + 1 {
			want = append(want, fmt.Sprint("do", i))
		}
		for i := fail - 1; i >= 0; i-- {
			want = append(want, fmt.Sprint("undo", i))
		}
		if fmt.Sprint(log) != fmt.Sprint(want) {
			t.Errorf("fail at %d: %v, want %v", fail, log, want)
		}
	}
}

func TestAllDone(t *testing.T) {
	var log []string
	times, err := Run(t.Context(), recorder(3, -1, &log))
	if err != nil || fmt.Sprint(log) != "[do0 do1 do2]" || len(times) != 3 || times[1].Name != "s1" {
		t.Errorf("%v %v %v", log, times, err)
	}
}

func TestUndoErrorsAreTold(t *testing.T) {
	all := []Step{
		{Name: "a", Do: func(context.Context) error { return nil }, Undo: func(context.Context) error { return errors.New("stuck") }},
		{Name: "b", Do: func(context.Context) error { return errors.New("boom") }},
	}
	if _, err := Run(t.Context(), all); err == nil || !strings.Contains(err.Error(), "undo a: stuck") {
		t.Errorf("%v", err)
	}
}

func TestCancelledBeforeAStep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var log []string
	all := recorder(3, -1, &log)
	do := all[0].Do
	all[0].Do = func(c context.Context) error { defer cancel(); return do(c) }
	if _, err := Run(ctx, all); !errors.Is(err, context.Canceled) || fmt.Sprint(log) != "[do0 undo0]" {
		t.Errorf("%v %v", log, err)
	}
}

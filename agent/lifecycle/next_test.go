package lifecycle

import (
	"errors"
	"strings"
	"testing"
)

// Every pair of state and event, row by row; "-" is an error of kind ErrState. The
// columns are the events in the order of the header.
const podPairs = `
            set_up stop     stopped  remove   disappeared
creating    ready  stopping -        removing notready
ready       -      stopping -        -        notready
stopping    -      stopping notready -        notready
notready    -      notready notready removing notready
removing    -      -        -        removing removing
`

const containerPairs = `
          set_up  start    started start_failed exit    remove
creating  created -        -       -            exited  removing
created   -       starting -       -            exited  removing
starting  -       -        running exited       exited  -
running   -       -        -       -            exited  -
exited    -       -        exited  exited       exited  removing
removing  -       -        removing removing    removing removing
`

// pairs calls f with every state, event and expectation of a table.
func pairs(t *testing.T, table string, f func(state, event, want string)) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	events := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		row := strings.Fields(line)
		if len(row) != len(events)+1 {
			t.Fatalf("row %q has %d columns, not %d", line, len(row), len(events)+1)
		}
		for i, want := range row[1:] {
			f(row[0], strings.ReplaceAll(events[i], "_", " "), want)
		}
	}
}

func check(t *testing.T, state, event, want, got string, err error) {
	t.Helper()
	switch {
	case want == "-" && !errors.Is(err, ErrState):
		t.Errorf("%s + %s: error %v, want kind ErrState", state, event, err)
	case want == "-" && got != state:
		t.Errorf("%s + %s: state became %s on an error", state, event, got)
	case want != "-" && (err != nil || got != want):
		t.Errorf("%s + %s = %s, %v; want %s", state, event, got, err, want)
	}
}

func TestNextPod(t *testing.T) {
	n := 0
	pairs(t, podPairs, func(state, event, want string) {
		got, err := NextPod(PodState(state), PodEvent(event))
		check(t, state, event, want, string(got), err)
		n++
	})
	if n != len(podTable)*5 {
		t.Errorf("%d pairs tested, the table has %d states and 5 events", n, len(podTable))
	}
}

func TestNextContainer(t *testing.T) {
	n := 0
	pairs(t, containerPairs, func(state, event, want string) {
		got, err := NextContainer(ContainerState(state), ContainerEvent(event))
		check(t, state, event, want, string(got), err)
		n++
	})
	if n != len(containerTable)*6 {
		t.Errorf("%d pairs tested, the table has %d states and 6 events", n, len(containerTable))
	}
}

func TestNextUnknown(t *testing.T) {
	if _, err := NextPod("limbo", PodStop); !errors.Is(err, ErrState) {
		t.Errorf("unknown pod state: %v", err)
	}
	if _, err := NextContainer(ContainerRunning, "dance"); !errors.Is(err, ErrState) {
		t.Errorf("unknown container event: %v", err)
	}
}

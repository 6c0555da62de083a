package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompletion(t *testing.T) {
	socket := start(t, populated())
	for line, want := range map[string]string{
		"logs ":          "web/web web/side job/main job",
		"exec ":          "web/web web/side job/main job",
		"exec web/side ": "",
		"stop ":          "web job web/web web/side job/main job",
		"port-forward ":  "web job",
		"run ":           "docker.io/library/busybox:1 reg:5000/busybox:x",
		"run --pod ":     "web job",
		"run --pull ":    "missing always never",
		"rmi ":           "docker.io/library/busybox:1 reg:5000/busybox:x",
	} {
		r := cli(t.Context(), nil, socket, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		out, _, _ := strings.Cut(r.out, ":4\n")
		got := strings.Fields(out)
		if d := cmp.Diff(strings.Fields(want), got); d != "" && want+strings.Join(got, "") != "" {
			t.Errorf("%q (code %d): %s", line, r.code, d)
		}
	}
	if r := cli(t.Context(), nil, "/nowhere/s", "__complete", "logs", ""); !strings.HasPrefix(r.out, ":4") {
		t.Errorf("without an agent: %+v", r)
	}
}

package monitor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestExitRecord(t *testing.T) {
	dir := t.TempDir()
	want := Exit{ID: "c1", Code: 137, Signal: 9, OOMKilled: true, StartedAt: time.Unix(1, 2), FinishedAt: time.Unix(3, 4)}
	if err := writeRecord(dir, &want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadExit(dir, "c1")
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := ReadExit(dir, "c2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := ReadExit(dir, "../c1"); err == nil {
		t.Error("an id that leaves the directory is accepted")
	}
	whole := encodeRecord(&want)
	for n := range whole {
		for name, b := range map[string][]byte{
			"cut":    whole[:n],
			"zeroed": append(append([]byte{}, whole[:n]...), make([]byte, len(whole)-n)...),
		} {
			if err := os.WriteFile(filepath.Join(dir, "torn"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadExit(dir, "torn"); !errors.Is(err, ErrTornRecord) {
				t.Fatalf("%s at %d: %v", name, n, err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadExit(dir, "other"); !errors.Is(err, ErrTornRecord) {
		t.Errorf("another process's record: %v", err)
	}
}

func TestParseOOMKills(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3, true},
		{"low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n", 1, true},
		{"oom_kill_disable 0\nunder_oom 0\n", 0, false},
		{"oom_kill x\n", 0, false},
		{"", 0, false},
	} {
		if n, ok := parseOOMKills([]byte(c.in)); n != c.want || ok != c.ok {
			t.Errorf("%q: %d %t", c.in, n, ok)
		}
	}
}

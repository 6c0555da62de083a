package record

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func store(t *testing.T) *Store {
	return &Store{Dir: filepath.Join(t.TempDir(), "pods"), Kind: "pod", Version: 2}
}

func TestRoundTrip(t *testing.T) {
	s := store(t)
	if good, bad, empty, err := s.All(); err != nil || len(good)+len(bad)+len(empty) != 0 {
		t.Fatalf("missing directory: %v %v %v %v", good, bad, empty, err)
	}
	for _, payload := range []string{"first", "second, longer", "", "a\nb\x00"} {
		if err := s.Write("p1", []byte(payload)); err != nil {
			t.Fatal(err)
		}
		good, bad, _, err := s.All()
		if err != nil || len(bad) != 0 || len(good) != 1 || string(good[0].Payload) != payload || good[0].ID != "p1" || good[0].Version != 2 {
			t.Fatalf("read back %q: %+v %v %v", payload, good, bad, err)
		}
	}
	info, err := os.Stat(filepath.Join(s.Dir, "p1", fileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v, want 0600", info.Mode(), err)
	}
	if err := s.Remove("p1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("p1"); err != nil {
		t.Errorf("second removal: %v", err)
	}
}

// TestEveryTear truncates and zeroes a record at every byte: none may parse, all are set aside.
func TestEveryTear(t *testing.T) {
	s := store(t)
	if err := s.Write("p", []byte("payload of some length")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, "p", fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		zeroed := append(bytes.Clone(whole[:n]), make([]byte, len(whole)-n)...)
		for name, data := range map[string][]byte{"cut": whole[:n], "zeroed": zeroed} {
			if _, err := s.Parse(data); err == nil {
				t.Fatalf("%s at byte %d parses", name, n)
			}
		}
	}
	if err := os.WriteFile(path, whole[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	good, bad, _, err := s.All()
	if err != nil || len(good) != 0 || len(bad) != 1 || bad[0].ID != "p" {
		t.Fatalf("torn record: %v %v %v", good, bad, err)
	}
	if _, err := os.Stat(path + badSuffix); err != nil {
		t.Errorf("not set aside: %v", err)
	}
	_, bad, empty, _ := s.All()
	if len(bad) != 0 || len(empty) != 1 {
		t.Errorf("after it was set aside: bad %v, empty %v", bad, empty)
	}
}

func TestParseRefuses(t *testing.T) {
	s := store(t)
	if err := s.Write("p", []byte("x")); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(filepath.Join(s.Dir, "p", fileName))
	for name, c := range map[string]struct{ from, to, want string }{
		"another kind": {"slipway pod", "slipway container", `"container"`},
		"newer":        {"pod 2", "pod 3", "newer"},
		"no version":   {"pod 2", "pod x", "version"},
		"other bytes":  {"\nx", "\ny", "checksum"},
		"no header":    {"slipway", "runway", "header"},
	} {
		_, err := s.Parse([]byte(strings.Replace(string(data), c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %s", name, err, c.want)
		}
	}
	older := strings.Replace(string(data), "pod 2", "pod 1", 1)
	if r, err := s.Parse([]byte(older)); err != nil || r.Version != 1 {
		t.Errorf("older version: %v %v", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("slipway pod 1 00\n{}"))
	f.Add([]byte("slipway pod 2 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\nx"))
	s := &Store{Kind: "pod", Version: 2}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := s.Parse(data); err == nil && !bytes.HasSuffix(data, r.Payload) {
			t.Errorf("payload %q is not the tail of %q", r.Payload, data)
		}
	})
}

package monitor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// TestFullDisk fills a small tmpfs: the log stays well-formed, nothing blocks, and the
// log says what was lost.
func TestFullDisk(t *testing.T) {
	kerneltest.NeedRoot(t)
	dir := t.TempDir()
	kerneltest.Balance(t, kerneltest.Scope{Dirs: []string{dir}})
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var h header
	h.set(testTime, StreamStdout)
	in := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 100))
	records, _ := h.format(make([]byte, 0, 1<<20), in, DefaultMaxLine)
	for range 20 {
		l.write(records)
	}
	if l.dropped == 0 || len(l.rest) == 0 {
		t.Fatalf("%d bytes dropped, %d of a record left: the disk is not full", l.dropped, len(l.rest))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.write(records[:140])
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	joined(t, b, "stdout")
	if note := string(joined(t, b, "stderr")); !strings.Contains(note, "bytes of log were lost: no space left on device\n") {
		t.Errorf("the note is %q", note)
	}
	if !bytes.HasSuffix(b, records[:140]) || l.dropped != 0 || l.rest != nil {
		t.Errorf("it did not go on after the note: %q", b[len(b)-300:])
	}
}

func TestLogPathIsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "fifo", "."} {
		if l, err := openLog(filepath.Join(dir, name)); err == nil {
			l.close()
			t.Errorf("%s was opened", name)
		}
	}
	l, err := openLog(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if st, err := os.Stat(l.path); err != nil || st.Mode().Perm()&0o027 != 0 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

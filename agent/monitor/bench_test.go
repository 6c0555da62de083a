package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkRelay is a container that writes lines of 100 bytes, from its pipe to its log.
func BenchmarkRelay(b *testing.B) {
	n := newNode(b)
	lines := strings.Repeat(strings.Repeat("x", 99)+"\n", 640<<10)
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "lines"), []byte(lines), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(lines)))
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("c%d", i)
		n.create(id, "busybox cat /tmp/lines")
		n.start(id)
		n.exit(id)
		if err := os.Remove(n.logPath(id)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExec is one exec of true, from the request to the news of its exit.
func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	n.create("c1", "exec busybox sleep 1000")
	n.start("c1")
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("e%d", i)
		r, err := n.exec(id, "c1", "true")
		if err != nil {
			b.Fatal(err)
		}
		n.exit(id)
		r.Close()
		if err := n.client.Forget(n.ctx, id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkContainer is create, start, exit and forget of a container.
func BenchmarkContainer(b *testing.B) {
	n := newNode(b)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("c%d", i)
		n.create(id, "true")
		n.start(id)
		n.exit(id)
		if err := n.client.Forget(n.ctx, id); err != nil {
			b.Fatal(err)
		}
	}
}

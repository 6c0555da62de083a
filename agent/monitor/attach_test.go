package monitor

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/initconf"
)

func withStdin(once bool) func(*LaunchRequest, *initconf.Config) {
	return func(q *LaunchRequest, _ *initconf.Config) { q.Stdin, q.StdinOnce = true, once }
}

func withTerminal(q *LaunchRequest, c *initconf.Config) {
	q.Terminal, q.Stdin = true, true
	c.Terminal, c.ConsoleHeight, c.ConsoleWidth = true, 24, 80
}

func (n *node) attach(id string, stdin bool) *Attachment {
	n.t.Helper()
	a, err := n.client.Attach(n.ctx, id, stdin)
	if err != nil {
		n.t.Fatalf("attach to %s: %v", id, err)
	}
	n.t.Cleanup(func() { a.Close() })
	return a
}

// until reads from a terminal's or container's output until it contains want.
func (n *node) until(a *Attachment, want string) string {
	n.t.Helper()
	var got strings.Builder
	buf := make([]byte, AttachBuffer)
	for !strings.Contains(got.String(), want) {
		_, m, err := a.Read(buf)
		if err != nil {
			n.t.Fatalf("%v before %q: %q", err, want, got.String())
		}
		got.Write(buf[:m])
	}
	return got.String()
}

func TestAttachBothStreams(t *testing.T) {
	n := newNode(t)
	n.create("c1", "echo out; echo err >&2")
	all := []*Attachment{n.attach("c1", false), n.attach("c1", true), n.attach("c1", false)}
	n.start("c1")
	for i, a := range all {
		var out, errs bytes.Buffer
		if err := a.CopyOutput(&out, &errs); err != nil {
			t.Fatal(err)
		}
		if out.String() != "out\n" || errs.String() != "err\n" {
			t.Errorf("attachment %d: stdout %q, stderr %q", i, &out, &errs)
		}
	}
	n.exit("c1")
	if _, err := n.client.Attach(n.ctx, "c1", false); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("attach after the exit: %v", err)
	}
	if got := n.log("c1", "stdout"); got != "out\n" {
		t.Errorf("log %q", got)
	}
}

// TestStdinOnce sends more than pipe and socket hold; its end is the container's EOF,
// though the attachment is gone before the container has read it.
func TestStdinOnce(t *testing.T) {
	n := newNode(t)
	if err := unix.Mkfifo(filepath.Join(n.root, "tmp", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.create("c1", "read x < /tmp/go; busybox cat | busybox md5sum; echo done", withStdin(true))
	n.start("c1")
	a := n.attach("c1", true)
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	written := make(chan error, 1)
	go func() {
		_, err := a.Write(input)
		a.Close()
		written <- err
	}()
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "go"), []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	n.exit("c1")
	if got, want := n.log("c1", "stdout"), fmt.Sprintf("%x  -\ndone\n", md5.Sum(input)); got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// TestStdinOfDeadReader: what a client wrote arrives, though it left output unread.
func TestStdinOfDeadReader(t *testing.T) {
	n := newNode(t)
	if err := unix.Mkfifo(filepath.Join(n.root, "tmp", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.create("c1", "echo unread; read x < /tmp/go; busybox wc -c", withStdin(true))
	a := n.attach("c1", true)
	n.start("c1")
	n.await("the output is there", func() bool { return n.log("c1", "stdout") != "" })
	if _, err := a.Write(make([]byte, 150<<10)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if err := os.WriteFile(filepath.Join(n.root, "tmp", "go"), []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	n.exit("c1")
	if got := strings.Fields(n.log("c1", "stdout")); len(got) != 2 || got[1] != "153600" {
		t.Errorf("log %q", got)
	}
}

// TestStdinStays: without StdinOnce a second attachment goes on where the first ended.
func TestStdinStays(t *testing.T) {
	n := newNode(t)
	n.create("c1", "read a; read b; echo $a-$b", withStdin(false))
	n.start("c1")
	for _, line := range []string{"one\n", "two\n"} {
		a := n.attach("c1", true)
		if _, err := io.WriteString(a, line); err != nil {
			t.Fatal(err)
		}
		if err := a.CloseStdin(); err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	n.exit("c1")
	if got := n.log("c1", "stdout"); got != "one-two\n" {
		t.Errorf("log %q", got)
	}
}

// TestCloseStdinKeepsOutput: the end of stdin is not the end of the attachment.
func TestCloseStdinKeepsOutput(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox wc -c", withStdin(true))
	n.start("c1")
	a := n.attach("c1", true)
	if _, err := io.WriteString(a, "12345"); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseStdin(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.CopyOutput(&out, nil); err != nil || strings.TrimSpace(out.String()) != "5" {
		t.Errorf("%q, %v", out.String(), err)
	}
	n.exit("c1")
}

func TestNoStdinIsNull(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox wc -c; busybox readlink /proc/self/fd/0")
	a := n.attach("c1", true)
	if _, err := io.WriteString(a, "nobody reads this"); err != nil {
		t.Fatal(err)
	}
	n.start("c1")
	n.exit("c1")
	if got := n.log("c1", "stdout"); !strings.HasPrefix(strings.TrimSpace(got), "0\n") || !strings.Contains(got, "/dev/null") {
		t.Errorf("log %q", got)
	}
}

func TestTerminal(t *testing.T) {
	n := newNode(t)
	before := n.fds()
	n.create("c1", "busybox stty size; read x; busybox stty size; echo got $x", withTerminal)
	a := n.attach("c1", true)
	n.start("c1")
	n.until(a, "24 80\r\n")
	if err := n.client.Resize(n.ctx, "c1", 50, 132); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(a, "hello\n"); err != nil {
		t.Fatal(err)
	}
	n.until(a, "got hello\r\n")
	if e := n.exit("c1"); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	if got, want := n.log("c1", "stdout"), "24 80\r\nhello\r\n50 132\r\ngot hello\r\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	if err := n.client.Resize(n.ctx, "c1", 1, 1); err == nil {
		t.Error("a terminal that is gone was resized")
	}
	a.Close()
	n.balanced(before)
	n.create("c2", "true")
	if err := n.client.Resize(n.ctx, "c2", 1, 1); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("resize without a terminal: %v", err)
	}
}

// TestSlowReader: an attachment that takes nothing holds its container back, not others,
// and one that then reads gets everything.
func TestSlowReader(t *testing.T) {
	n := newNode(t)
	n.create("slow", "busybox seq 1 200000; echo end")
	n.create("fast", "busybox seq 1 200000; echo end")
	a := n.attach("slow", false)
	n.start("slow")
	n.start("fast")
	n.exit("fast")
	n.mu.Lock()
	_, early := n.exits["slow"]
	n.mu.Unlock()
	if early {
		t.Error("the container ended though nobody took its 1.3 MB")
	}
	var out bytes.Buffer
	if err := a.CopyOutput(&out, nil); err != nil {
		t.Fatal(err)
	}
	n.exit("slow")
	if got := n.log("slow", "stdout"); got != out.String() || !strings.HasSuffix(got, "200000\nend\n") {
		t.Errorf("the log has %d bytes, the attachment got %d", len(got), out.Len())
	}
}

// TestDeadReader: one that goes away without reading holds nobody.
func TestDeadReader(t *testing.T) {
	n := newNode(t)
	n.create("c1", "busybox seq 1 200000")
	a := n.attach("c1", false)
	n.start("c1")
	n.until(a, "1\n")
	a.Close()
	n.exit("c1")
	if got := n.log("c1", "stdout"); !strings.HasSuffix(got, "\n200000\n") {
		t.Errorf("the log has %d bytes", len(got))
	}
}

// TestCutOff: a reader that takes nothing is cut off, and the output it held back goes on.
func TestCutOff(t *testing.T) {
	s, _ := serveHere(t)
	s.holdLimit = 50 * time.Millisecond
	looped := make(chan struct{})
	go func() {
		defer close(looped)
		_ = s.loop.run()
	}()
	t.Cleanup(func() {
		s.loop.close()
		<-looped
	})
	path := filepath.Join(t.TempDir(), "log")
	e := newEntry(s, &LaunchRequest{ID: "c1", Kind: KindContainer})
	child, err := e.openStreams(&LaunchRequest{LogPath: path})
	if err != nil {
		t.Fatal(err)
	}
	defer child.close()
	close(e.settled)
	fd, err := e.attached.open(false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for range 4096 { // blocks while the reader holds it back
		if _, err := child[1].Write(line); err != nil {
			t.Fatal(err)
		}
	}
	child.close()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 4096*(len(line)+headerLen) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d bytes", len(b))
		}
	}
	if e.attached.count.Load() != 0 {
		t.Error("the reader is still there")
	}
}

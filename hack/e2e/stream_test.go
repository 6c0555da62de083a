package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestExecStreams(t *testing.T) {
	n := startNode(t)
	n.pull()
	c := n.runPod("exec", nil).run("c", forever, nil)
	open := func(t *testing.T, r *runtimeapi.ExecRequest) *stream {
		t.Helper()
		r.ContainerId = c.id
		answer, err := n.runtime.Exec(n.ctx, r)
		if err != nil {
			t.Fatalf("Exec: %v", err)
		}
		return openStream(t, n.ctx, answer.Url)
	}
	t.Run("pipes", func(t *testing.T) {
		s := open(t, &runtimeapi.ExecRequest{Cmd: []string{"sh", "-c", "cat; echo err >&2; exit 4"}, Stdin: true, Stdout: true, Stderr: true})
		s.send(chanStdin, "hello ")
		s.expect(n.ctx, chanStdout, "hello ")
		s.send(chanStdin, "again")
		s.send(chanClose, "\x00") // stdin's end
		if code := s.code(n.ctx); code != "4" || s.text(chanStdout) != "hello again" || s.text(chanStderr) != "err\n" {
			t.Errorf("ended with %s, %q, %q", code, s.text(chanStdout), s.text(chanStderr))
		}
	})
	t.Run("terminal", func(t *testing.T) {
		// The program hears of a change of size by SIGWINCH, which also interrupts its read.
		s := open(t, &runtimeapi.ExecRequest{Cmd: []string{"sh", "-c",
			`trap 'echo size $(stty size)' WINCH; tty; while :; do read x || continue; [ "$x" = quit ] && exit 6; echo "got $x"; done`},
			Stdin: true, Stdout: true, Tty: true})
		s.expect(n.ctx, chanStdout, "/dev/pts/")
		s.send(chanStdin, "word\n")
		s.expect(n.ctx, chanStdout, "got word")
		s.send(chanResize, `{"Width":91,"Height":37}`)
		eventually(t, "the new size", func() bool {
			s.send(chanStdin, "again\n") // ash runs a trap when a command has ended
			return strings.Contains(s.text(chanStdout), "size 37 91")
		})
		s.send(chanStdin, "quit\n")
		if code := s.code(n.ctx); code != "6" {
			t.Errorf("ended with %s: %q", code, s.text(chanStdout))
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		s := open(t, &runtimeapi.ExecRequest{Cmd: []string{"sh", "-c", "echo there; exec sleep 1000"}, Stdin: true, Stdout: true, Tty: true})
		s.expect(n.ctx, chanStdout, "there")
		s.send(chanStdin, "\x03")
		if code := s.code(n.ctx); code != "130" {
			t.Errorf("after Ctrl-C it ended with %s", code)
		}
	})
	t.Run("hang up", func(t *testing.T) {
		s := open(t, &runtimeapi.ExecRequest{Cmd: []string{"sh", "-c", "echo there; sleep 424242; true"}, Stdout: true, Stderr: true})
		s.expect(n.ctx, chanStdout, "there")
		_ = s.ws.Close()
		eventually(t, "the left exec's end", func() bool { return c.sh("ps | grep '[s]leep 424242' || true") == "" })
	})
}

func TestAttach(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("attach", nil)
	c := p.create("c", []string{"sh", "-c", `echo begin; while read x; do echo "got $x"; done; echo end; exit 9`},
		func(c *containerConfig) { c.Stdin, c.StdinOnce = true, true })
	attach := func(stdin bool) *stream {
		t.Helper()
		r, err := n.runtime.Attach(n.ctx, &runtimeapi.AttachRequest{ContainerId: c.id, Stdin: stdin, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatalf("Attach: %v", err)
		}
		return openStream(t, n.ctx, r.Url)
	}
	c.start()
	watcher, writer := attach(false), attach(true)
	writer.send(chanStdin, "one\n")
	for _, s := range []*stream{writer, watcher} {
		s.expect(n.ctx, chanStdout, "got one\n")
	}
	writer.send(chanStdin, "two\n")
	writer.expect(n.ctx, chanStdout, "got two\n")
	_ = writer.ws.Close() // stdin_once: the program reads the end
	if s := c.exit(); s.ExitCode != 9 {
		t.Errorf("ended with %d, %s", s.ExitCode, s.Reason)
	}
	watcher.expect(n.ctx, chanStdout, "end\n")
	if got := c.output(); got != "begin\ngot one\ngot two\nend\n" {
		t.Errorf("log: %q", got)
	}
}

func TestPortForward(t *testing.T) {
	n := startNode(t)
	n.pull()
	n.write("www/index.html", "forwarded")
	p := n.runPod("forward", nil)
	c := p.run("c", []string{"httpd", "-f", "-p", "127.0.0.1:8081", "-h", "/www"}, func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: filepath.Join(n.dir, "www"), ContainerPath: "/www", Readonly: true}}
	})
	eventually(t, "the server's listening", func() bool { return strings.Contains(c.sh("netstat -ltn"), ":8081") })
	r, err := n.runtime.PortForward(n.ctx, &runtimeapi.PortForwardRequest{PodSandboxId: p.id, Port: []int32{8081}})
	if err != nil {
		t.Fatalf("PortForward: %v", err)
	}
	f := &forwarded{ws: dial(t, n.ctx, r.Url, "v4.channel.k8s.io"), port: map[byte]uint16{}}
	if _, err := fmt.Fprintf(f, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		t.Fatalf("over the stream: %v", err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "forwarded" || f.port[0] != 8081 {
		t.Errorf("got %q from port %d, %v", body, f.port[0], err)
	}
	throughVerb(t, p)
}

// throughVerb uses `slipway port-forward`, which speaks SPDY.
func throughVerb(t *testing.T, p *pod) {
	t.Helper()
	port := freePort(t)
	cmd := exec.CommandContext(p.ctx, filepath.Join(bin, "slipway"), "--socket", p.socket, "port-forward", p.id, fmt.Sprintf("%d:8081", port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("port-forward says %q, %v", line, err)
	}
	for range 3 {
		if got, err := get(fmt.Sprintf("127.0.0.1:%d/", port)); err != nil || got != "forwarded" {
			t.Errorf("through slipway port-forward: %q, %v", got, err)
		}
	}
}

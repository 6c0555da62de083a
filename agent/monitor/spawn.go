package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// StartConfig says how to start a monitor.
type StartConfig struct {
	Path  string   // the monitor's binary
	Args  []string // argv[0] first; nil = {"slipway-monitor"}
	Init  string   // slipway-init's binary
	State string   // the agent's state directory; Socket, Exits and Log default to names in it

	Socket string // path socket
	Exits  string // directory of exit records
	Log    string // the monitor's stderr, appended to
	Env    []string
}

func (cfg *StartConfig) fill() error {
	if cfg.State == "" && (cfg.Socket == "" || cfg.Exits == "" || cfg.Log == "") {
		return fmt.Errorf("start the monitor: no state directory: %w", lifecycle.ErrInvalid)
	}
	for _, d := range []struct {
		field *string
		name  string
	}{{&cfg.Socket, "monitor.sock"}, {&cfg.Exits, "exits"}, {&cfg.Log, "monitor.log"}} {
		if *d.field == "" {
			*d.field = filepath.Join(cfg.State, d.name)
		}
	}
	if cfg.Args == nil {
		cfg.Args = []string{"slipway-monitor"}
	}
	return nil
}

// Start connects to the monitor at cfg.Socket, or starts one and connects. The monitor
// lives in a session of its own and goes on when the caller dies.
func Start(ctx context.Context, cfg StartConfig) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	c, err := Dial(ctx, cfg.Socket)
	if err == nil || !errors.Is(err, lifecycle.ErrUnavailable) {
		return c, err
	}
	if err := spawn(ctx, cfg); err != nil {
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	return Dial(ctx, cfg.Socket)
}

// spawn returns when the monitor listens. It says so with a byte on descriptor 3 and then
// closes it; end of file without the byte means that it died, and its log says of what.
func spawn(ctx context.Context, cfg StartConfig) error {
	if err := os.MkdirAll(filepath.Dir(cfg.Log), 0o700); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(cfg.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	argv := append(append([]string{}, cfg.Args...),
		"--socket", cfg.Socket, "--exits", cfg.Exits, "--init", cfg.Init, "--ready-fd", "3")
	from, err := log.Seek(0, 2)
	if err != nil {
		from = 0
	}
	p, err := os.StartProcess(cfg.Path, argv, &os.ProcAttr{
		Dir:   "/",
		Env:   cfg.Env,
		Files: []*os.File{null, null, log, readyW},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	readyW.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	if said, _ := io.ReadAll(ready); len(said) == 1 {
		go p.Wait() //nolint:errcheck // only to reap it, should it end before us
		return nil
	}
	if ctx.Err() != nil {
		_ = p.Kill()
		_, _ = p.Wait()
		return ctx.Err()
	}
	state, err := p.Wait()
	if err != nil {
		return err
	}
	return fmt.Errorf("it ended with %s: %s", state, lastLine(cfg.Log, from))
}

func lastLine(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return "no log"
	}
	defer f.Close()
	buf := make([]byte, 8192)
	n, _ := f.ReadAt(buf, from)
	lines := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	return lines[len(lines)-1]
}

// Package remote is the client side of the endpoints that CRI's Exec, Attach and PortForward answer
// with: WebSocket in Kubernetes' v5.channel.k8s.io (KEP-4006) for commands, SPDY for ports.
// It knows nothing of CRI. A connection is one goroutine a stream, tied to the caller's context.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// protocol is the subprotocol with a message that ends stdin.
const protocol = "v5.channel.k8s.io"

// Channels are a message's first byte.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelStatus = 3
	channelResize = 4
	channelClose  = 255
)

// maxData is the most that one message of stdin carries. A message must be one frame, so the
// write buffer holds a whole one: the servers of the field (golang.org/x/net/websocket) do not join
// fragments, and take the first byte of each for a channel.
const maxData = 32 << 10

// Size of a terminal, as the resize channel has it.
type Size struct{ Width, Height uint16 }

// Streams are the local ends. Stdin and Resize may be nil.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
	// Ready is called once the endpoint has said that it is there; nil is allowed.
	Ready func()
}

// ErrDetached is the cause of an end that the user asked for with the detach keys.
var ErrDetached = errors.New("detached")

// Run connects s to the endpoint and returns the command's exit code once it has ended. A Stdin that
// returns ErrDetached ends the connection; the command runs on.
func Run(ctx context.Context, url string, s Streams) (int, error) {
	ws, err := dial(ctx, url)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Closing is the one thing that ends a blocked read.
	stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
	defer stop()
	defer ws.Close()
	c := &conn{ws: ws}
	if s.Stdin != nil {
		go func() {
			if err := c.sendStdin(s.Stdin); errors.Is(err, ErrDetached) {
				cancel(ErrDetached)
			}
		}()
	}
	if s.Resize != nil {
		go c.sendSizes(ctx, s.Resize)
	}
	code, err := c.receive(s)
	if err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return code, err
}

func dial(ctx context.Context, url string) (*websocket.Conn, error) {
	url = "ws" + strings.TrimPrefix(url, "http") // https becomes wss
	d := websocket.Dialer{Subprotocols: []string{protocol}, WriteBufferSize: maxData + 1024, ReadBufferSize: maxData}
	ws, resp, err := d.DialContext(ctx, url, nil)
	if err != nil && resp != nil {
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return nil, fmt.Errorf("streaming endpoint: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	if err != nil {
		return nil, fmt.Errorf("streaming endpoint: %w", err)
	}
	if ws.Subprotocol() != protocol {
		_ = ws.Close()
		return nil, fmt.Errorf("streaming endpoint speaks %q, not %s", ws.Subprotocol(), protocol)
	}
	return ws, nil
}

type conn struct {
	mu sync.Mutex // a WebSocket has one writer
	ws *websocket.Conn
}

func (c *conn) send(channel byte, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{channel}); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

func (c *conn) sendStdin(r io.Reader) error {
	buf := make([]byte, maxData)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := c.send(channelStdin, buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return c.send(channelClose, []byte{channelStdin})
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) sendSizes(ctx context.Context, sizes <-chan Size) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			b, err := json.Marshal(size)
			if err != nil || c.send(channelResize, b) != nil {
				return
			}
		}
	}
}

// receive copies output until the status comes or the connection ends.
func (c *conn) receive(s Streams) (int, error) {
	ready := s.Ready
	for {
		_, r, err := c.ws.NextReader()
		if err == nil && ready != nil {
			ready()
			ready = nil
		}
		if err != nil {
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, errors.New("the connection ended without a status")
			}
			return 0, fmt.Errorf("stream: %w", err)
		}
		var channel [1]byte
		if _, err := io.ReadFull(r, channel[:]); err != nil {
			continue // an empty message only says that the endpoint is there
		}
		switch {
		case channel[0] == channelStdout && s.Stdout != nil:
			_, err = io.Copy(s.Stdout, r)
		case channel[0] == channelStderr && s.Stderr != nil:
			_, err = io.Copy(s.Stderr, r)
		case channel[0] == channelStatus:
			b, err := io.ReadAll(io.LimitReader(r, 64<<10))
			if err != nil {
				return 0, fmt.Errorf("stream: %w", err)
			}
			if len(b) == 0 {
				continue
			}
			return exitCode(b)
		}
		if err != nil {
			return 0, fmt.Errorf("stream: %w", err)
		}
	}
}

// status is the part of Kubernetes' Status object that tells how a command ended.
type status struct {
	Status, Message, Reason string
	Details                 struct {
		Causes []struct{ Reason, Message string }
	}
}

func exitCode(b []byte) (int, error) {
	var s status
	if err := json.Unmarshal(b, &s); err != nil {
		return 0, fmt.Errorf("status of the command: %w", err)
	}
	if s.Status == "Success" {
		return 0, nil
	}
	for _, c := range s.Details.Causes {
		if c.Reason == "ExitCode" {
			code, err := strconv.Atoi(c.Message)
			if err != nil {
				return 0, fmt.Errorf("status of the command: exit code %q", c.Message)
			}
			return code, nil
		}
	}
	return 0, errors.New(strings.TrimPrefix(s.Message, "Internal error occurred: "))
}

package extension

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slipway-cri/slipway/agent/images"
)

// Client calls the service. Errors are gRPC statuses; Unimplemented means another
// runtime is behind the socket.
type Client struct{ conn grpc.ClientConnInterface }

// NewClient uses a connection to the agent's socket.
func NewClient(conn grpc.ClientConnInterface) *Client { return &Client{conn} }

func (c *Client) stream(ctx context.Context, i int) (grpc.ClientStream, error) {
	d := &desc.Streams[i]
	return c.conn.NewStream(ctx, d, "/"+ServiceName+"/"+d.StreamName)
}

// request sends the one message of a call whose answer is a stream.
func (c *Client) request(ctx context.Context, i int, v any) (grpc.ClientStream, error) {
	s, err := c.stream(ctx, i)
	if err != nil {
		return nil, err
	}
	// io.EOF says that the server has answered: the status is what RecvMsg returns.
	if err := sendJSON(s, v); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s, s.CloseSend()
}

// Pull fetches ref and tells p of the steps, from this goroutine; p may be nil.
func (c *Client) Pull(ctx context.Context, ref string, auth *images.Auth, p images.Progress) (*Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.request(ctx, 0, PullRequest{Ref: ref, Auth: auth})
	if err != nil {
		return nil, err
	}
	for {
		var e PullEvent
		switch err := recvJSON(s, &e); {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("pull %s: the stream ended without a result: %w", ref, io.ErrUnexpectedEOF)
		case err != nil:
			return nil, err
		case e.Image != nil:
			return e.Image, nil
		case e.Step != nil && p != nil:
			p(*e.Step)
		}
	}
}

// Load sends an archive and returns the images that came out of it.
func (c *Client) Load(ctx context.Context, r io.Reader) ([]Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.stream(ctx, 1)
	if err != nil {
		return nil, err
	}
	w := &chunkWriter{send: func(m *wrapperspb.BytesValue) error { return s.SendMsg(m) }}
	if _, err = io.Copy(w, r); err == nil {
		err = w.flush()
	}
	// A closed pipe here is the server's answer before the archive's end, read below.
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	var list []Image
	if err := recvJSON(s, &list); err != nil {
		return nil, err
	}
	return list, nil
}

// Save writes an archive of refs to w.
func (c *Client) Save(ctx context.Context, w io.Writer, refs ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.request(ctx, 2, SaveRequest{Refs: refs})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, &chunkReader{recv: func(m *wrapperspb.BytesValue) error { return s.RecvMsg(m) }})
	return err
}

// Down asks the agent to stop all pods, the monitor and itself.
func (c *Client) Down(ctx context.Context) error {
	return c.conn.Invoke(ctx, "/"+ServiceName+"/Down", &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
}

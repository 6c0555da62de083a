package extension

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/slipway-cri/slipway/agent/images"
)

type fakeImages struct {
	loaded bytes.Buffer
	pull   func(ctx context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error)
	save   func(w io.Writer, refs []string) error
	refuse error
}

func (f *fakeImages) Pull(ctx context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error) {
	return f.pull(ctx, ref, auth, p)
}

func (f *fakeImages) Load(_ context.Context, r io.Reader) ([]*images.Image, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	if _, err := io.Copy(&f.loaded, r); err != nil {
		return nil, err
	}
	return []*images.Image{{ID: "sha256:1", RepoTags: []string{"a:1"}, Size: 7}}, nil
}

func (f *fakeImages) Save(_ context.Context, w io.Writer, refs ...string) error {
	return f.save(w, refs)
}

func serve(t *testing.T, srv *Server) *Client {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	Register(s, srv)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return NewClient(conn)
}

func TestPull(t *testing.T) {
	f := &fakeImages{pull: func(_ context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error) {
		if ref != "a:1" || auth.Username != "u" {
			return nil, errors.New("wrong request")
		}
		p(images.Step{Layer: "l", Phase: "downloading", Current: 0, Total: 1000})
		for i := range int64(998) {
			p(images.Step{Layer: "l", Phase: "downloading", Current: i + 1, Total: 1000})
		}
		p(images.Step{Layer: "l", Phase: "downloading", Current: 1000, Total: 1000})
		p(images.Step{Layer: "l", Phase: "done"})
		return &images.Image{ID: "sha256:1", Size: 5}, nil
	}}
	var steps []images.Step
	got, err := serve(t, &Server{Images: f}).Pull(t.Context(), "a:1", &images.Auth{Username: "u"}, func(s images.Step) { steps = append(steps, s) })
	if err != nil || got.ID != "sha256:1" || got.Size != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	// The first, the full one and the change of phase are always told; the rest is thinned out.
	if n := len(steps); n < 3 || n > 500 || steps[0].Current != 0 || steps[n-2].Current != 1000 || steps[n-1].Phase != "done" {
		t.Errorf("%d steps, last %+v", n, steps[max(0, n-2):])
	}
}

func TestPullCancelReachesTheService(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	f := &fakeImages{pull: func(ctx context.Context, _ string, _ *images.Auth, _ images.Progress) (*images.Image, error) {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	c := serve(t, &Server{Images: f})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := c.Pull(ctx, "a", nil, nil); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLoadAndSave(t *testing.T) {
	archive := make([]byte, 3*chunk+17)
	if _, err := rand.Read(archive); err != nil {
		t.Fatal(err)
	}
	f := &fakeImages{save: func(w io.Writer, refs []string) error {
		if fmt.Sprint(refs) != "[a b]" {
			return fmt.Errorf("refs %v", refs)
		}
		_, err := io.Copy(w, io.MultiReader(bytes.NewReader(archive[:5]), bytes.NewReader(archive[5:])))
		return err
	}}
	c := serve(t, &Server{Images: f})
	list, err := c.Load(t.Context(), bytes.NewReader(archive))
	if err != nil || len(list) != 1 || list[0].ID != "sha256:1" || list[0].Size != 7 {
		t.Fatalf("%+v, %v", list, err)
	}
	if !bytes.Equal(f.loaded.Bytes(), archive) {
		t.Error("the archive arrived changed")
	}
	var out bytes.Buffer
	if err := c.Save(t.Context(), &out, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), archive) {
		t.Error("the saved archive arrived changed")
	}
	if err := c.Save(t.Context(), &out); err == nil {
		t.Error("save of nothing")
	}
}

// An answer before the archive's end is the service's error, not a broken pipe.
func TestLoadRefused(t *testing.T) {
	c := serve(t, &Server{Images: &fakeImages{refuse: status.Error(codes.InvalidArgument, "no archive")}})
	_, err := c.Load(t.Context(), io.LimitReader(zeros{}, 64<<20))
	if status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDown(t *testing.T) {
	called := false
	c := serve(t, &Server{Down: func(context.Context) error { called = true; return nil }})
	if err := c.Down(t.Context()); err != nil || !called {
		t.Errorf("called %v, %v", called, err)
	}
	if err := serve(t, &Server{}).Down(t.Context()); err == nil {
		t.Error("down without a handler")
	}
}

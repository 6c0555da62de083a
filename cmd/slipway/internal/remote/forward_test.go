package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

// echoPod answers port 7 with what it was sent, in capitals, once the sender has finished.
type echoPod struct{}

func (echoPod) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if port != 7 {
		return errors.New("connection refused")
	}
	b, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stream, strings.ToUpper(string(b)))
	return err
}

func TestForward(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		portforward.ServePortForward(w, r, echoPod{}, "p", "", nil, time.Minute, 10*time.Second, portforward.SupportedProtocols)
	}))
	defer s.Close()
	f, err := DialForward(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // one connection carries them all
		local, remote := tcpPair(t)
		result := make(chan error, 1)
		go func() { result <- f.Forward(remote, 7) }()
		if _, err := io.WriteString(local, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := local.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(local); err != nil || string(b) != "HELLO" {
			t.Errorf("%q, %v", b, err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		_ = local.Close()
	}
	local, remote := tcpPair(t)
	defer local.Close()
	if err := f.Forward(remote, 9); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a port that nothing listens on: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	<-f.Done()
}

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

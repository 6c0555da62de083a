package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Containers is what streams need of agent/containers. Both return when the process has
// ended, the streams are done, or ctx ends because the client is gone.
type Containers interface {
	Exec(ctx context.Context, id string, cmd []string, s containers.Streams) (code int, err error)
	Attach(ctx context.Context, id string, s containers.Streams) error
}

// Pods is what port-forwarding needs of agent/pods.
type Pods interface {
	PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error
}

// Defaults of Options.
const (
	DefaultAddr            = "127.0.0.1:0"
	DefaultTokenTTL        = time.Minute
	DefaultIdleTimeout     = 4 * time.Hour // as kubelet's streamingConnectionIdleTimeout
	DefaultCreationTimeout = 30 * time.Second
)

// headerTimeout bounds how long a connection may take to say which token it has.
const headerTimeout = 10 * time.Second

// Options of the streaming server; zero values are the defaults above.
type Options struct {
	Containers Containers
	Pods       Pods
	// Addr is host:port on loopback; port 0 is a free one.
	Addr            string
	TokenTTL        time.Duration // from the CRI call to the connection
	IdleTimeout     time.Duration // of a connection without a byte either way
	CreationTimeout time.Duration // for a SPDY client to open its streams
	Log             *logrus.Logger
}

// Server is the streaming endpoint. It listens from New on.
type Server struct {
	o      Options
	tokens tokens
	conns  *conns
	http   *http.Server
	base   string // URL without path

	watchEvery time.Duration // shorter in tests
}

// New listens. An address that is not on loopback is lifecycle.ErrInvalid: the endpoint
// is plain HTTP, and whoever reads a token there can run commands.
func New(o Options) (*Server, error) {
	if o.Containers == nil || o.Pods == nil {
		return nil, fmt.Errorf("streaming: options Containers and Pods are required: %w", lifecycle.ErrInvalid)
	}
	o.defaults()
	redirectLibraryLog(o.Log)
	addr, err := net.ResolveTCPAddr("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("streaming address %q: %w: %w", o.Addr, err, lifecycle.ErrInvalid)
	}
	if !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("streaming address %q is not on loopback: %w", o.Addr, lifecycle.ErrInvalid)
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("streaming address %q: %w", o.Addr, err)
	}
	s := &Server{
		o:      o,
		tokens: tokens{ttl: o.TokenTTL},
		conns:  &conns{Listener: l, open: map[*trackedConn]struct{}{}},
		base:   "http://" + l.Addr().String(),

		watchEvery: watchEvery,
	}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       connContext,
		ConnState:         connState,
		ErrorLog:          httpLog(o.Log),
	}
	return s, nil
}

func (o *Options) defaults() {
	if o.Addr == "" {
		o.Addr = DefaultAddr
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = DefaultTokenTTL
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.CreationTimeout == 0 {
		o.CreationTimeout = DefaultCreationTimeout
	}
	if o.Log == nil {
		o.Log = logrus.StandardLogger()
	}
}

type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	t := c.(*trackedConn)
	ctx, cancel := context.WithCancel(context.WithValue(ctx, connKey{}, t))
	context.AfterFunc(t.ctx, cancel)
	return ctx
}

func connState(c net.Conn, state http.ConnState) {
	if state == http.StateHijacked {
		c.(*trackedConn).hijacked.Store(true)
	}
}

// Addr is the address listened on.
func (s *Server) Addr() net.Addr { return s.conns.Addr() }

// Serve answers connections until Close, which makes it return nil.
func (s *Server) Serve() error {
	done := make(chan struct{})
	defer close(done)
	go s.conns.watch(s.watchEvery, done)
	if err := s.http.Serve(s.conns); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve streams on %s: %w", s.Addr(), err)
	}
	return nil
}

// Close ends every connection and waits until their handlers have returned.
func (s *Server) Close() error {
	err := s.http.Close()
	s.conns.closeAll()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close %s: %w", s.Addr(), err)
	}
	return nil
}

// GetExec leaves an exec request and returns its URL.
func (s *Server) GetExec(r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	url, err := s.url("exec", r)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ExecResponse{Url: url}, nil
}

// GetAttach leaves an attach request and returns its URL.
func (s *Server) GetAttach(r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	url, err := s.url("attach", r)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.AttachResponse{Url: url}, nil
}

// GetPortForward leaves a port-forward request and returns its URL.
func (s *Server) GetPortForward(r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	url, err := s.url("portforward", r)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PortForwardResponse{Url: url}, nil
}

func (s *Server) url(verb string, req any) (string, error) {
	token, err := s.tokens.put(req)
	if err != nil {
		return "", err
	}
	return s.base + "/" + verb + "/" + token, nil
}

// Package registry fetches manifests and blobs of one image from a registry, over
// containerd's resolver: mirrors and TLS from hosts.toml, Basic and Bearer challenges.
// It adds size bounds, back-off, streams that resume, and errors of the agent's kinds.
// It keeps nothing. A Session belongs to one pull; its methods may be called concurrently.
package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// Options of Open. A zero field means its default.
type Options struct {
	// CertsDir holds a directory a host, with containerd's hosts.toml or Docker's
	// certificate files. "" for none.
	CertsDir string
	// Stall is how long a stream may bring nothing before it is opened again. Default 30 s.
	Stall time.Duration
	// Backoff is the first pause before a request is sent again; it doubles. Default 300 ms.
	Backoff time.Duration
	// Attempts bounds the tries of one request, and of one stream without progress. Default 5.
	Attempts int
}

func (o Options) withDefaults() Options {
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = 300 * time.Millisecond
	}
	if o.Attempts == 0 {
		o.Attempts = 5
	}
	return o
}

// Session fetches one image.
type Session struct {
	o        Options
	ref      reference.Named
	host     string
	resolver remotes.Resolver

	mu      sync.Mutex
	clients []*http.Client
	fetcher remotes.Fetcher
}

// Open begins a pull of ref, which has a tag or a digest. Nothing is sent yet. Close it.
func Open(ctx context.Context, ref reference.Named, cred *Credentials, o Options) (*Session, error) {
	s := &Session{o: o.withDefaults(), ref: ref, host: reference.Domain(ref)}
	login, err := cred.login()
	if err != nil {
		return nil, err
	}
	ho := config.HostOptions{
		Credentials: login.forHost,
		UpdateClient: func(c *http.Client) error {
			c.Transport = &retrier{next: c.Transport, backoff: s.o.Backoff, attempts: s.o.Attempts, token: login.tokenFor, tries: map[string]int{}}
			s.mu.Lock()
			s.clients = append(s.clients, c)
			s.mu.Unlock()
			return nil
		},
	}
	if o.CertsDir != "" {
		ho.HostDir = config.HostDirFromRoot(o.CertsDir)
	}
	s.resolver = docker.NewResolver(docker.ResolverOptions{
		Hosts:   config.ConfigureHosts(quiet(ctx), ho),
		Headers: http.Header{"User-Agent": {"slipway"}},
	})
	return s, nil
}

// quiet keeps containerd's packages from logging what the caller gets as an error.
func quiet(ctx context.Context) context.Context {
	return log.WithLogger(ctx, logrus.NewEntry(silent))
}

var silent = &logrus.Logger{Out: io.Discard, Formatter: new(logrus.TextFormatter), Hooks: logrus.LevelHooks{}, Level: logrus.PanicLevel}

// Close gives the connections back.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// Resolve asks what the reference is now: one request, for the manifest's headers.
func (s *Session) Resolve(ctx context.Context) (ocispec.Descriptor, error) {
	_, desc, err := s.resolver.Resolve(quiet(ctx), s.ref.String())
	if err != nil {
		return ocispec.Descriptor{}, s.kind(ctx, "resolve", err)
	}
	if err := checkDigest(desc.Digest); err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, nil
}

func (s *Session) open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	s.mu.Lock()
	f := s.fetcher
	s.mu.Unlock()
	if f == nil {
		var err error
		if f, err = s.resolver.Fetcher(quiet(ctx), s.ref.String()); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.fetcher = f
		s.mu.Unlock()
	}
	// A manifest may name other places to fetch from. It is not trusted with that.
	desc.URLs = nil
	return f.Fetch(quiet(ctx), desc)
}

func (s *Session) what(step string) string { return fmt.Sprintf("%s %s", step, s.ref) }

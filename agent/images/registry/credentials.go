package registry

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Credentials are CRI's AuthConfig (cri-api, api.proto).
type Credentials struct {
	Username, Password string
	Auth               string // base64 of "username:password"
	ServerAddress      string // host or URL they are for; "" means whatever host the image is on
	IdentityToken      string // an OAuth2 refresh token
	RegistryToken      string // a bearer token for the registry itself
}

// login is credentials made ready.
type login struct {
	user, secret string // user == "": secret is a refresh token
	token        string
	host         string // normalised; "" for any
}

func (c *Credentials) login() (login, error) {
	if c == nil {
		return login{}, nil
	}
	l := login{user: c.Username, secret: c.Password, token: c.RegistryToken}
	if c.ServerAddress != "" {
		host, err := serverHost(c.ServerAddress)
		if err != nil {
			return login{}, err
		}
		l.host = host
	}
	switch {
	case c.IdentityToken != "":
		l.user, l.secret = "", c.IdentityToken
	case c.Username == "" && c.Auth != "":
		plain, err := decodeAuth(c.Auth)
		if err != nil {
			return login{}, fmt.Errorf("registry credentials: auth is not base64: %w", lifecycle.ErrInvalid)
		}
		user, pass, ok := strings.Cut(plain, ":")
		if !ok {
			return login{}, fmt.Errorf("registry credentials: auth is not of the form user:password: %w", lifecycle.ErrInvalid)
		}
		l.user, l.secret = user, strings.Trim(pass, "\x00") // old Docker padded it with NULs
	}
	return l, nil
}

func decodeAuth(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(s)
	}
	return string(b), err
}

// serverHost takes "host", "host:port", "host/path" and URLs.
func serverHost(addr string) (string, error) {
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("registry credentials: server address %q: %w", addr, lifecycle.ErrInvalid)
	}
	return normalHost(u.Host), nil
}

// normalHost makes one name of Docker Hub's several, and drops the ports that go without saying.
func normalHost(h string) string {
	h = strings.ToLower(h)
	if name, port, err := net.SplitHostPort(h); err == nil && port == "443" {
		h = name
	}
	switch h {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return h
}

func (l login) matches(host string) bool { return l.host == "" || l.host == normalHost(host) }

// forHost is what containerd asks for a challenge of host.
func (l login) forHost(host string) (string, string, error) {
	if !l.matches(host) {
		return "", "", nil
	}
	return l.user, l.secret, nil
}

// tokenFor returns the bearer token to send to host unasked. Without a server address it
// goes nowhere: unlike an answer to a challenge it would reach every redirect's target.
func (l login) tokenFor(host string) string {
	if l.token == "" || l.host == "" || !l.matches(host) {
		return ""
	}
	return l.token
}

package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// source is blobs in memory.
type source map[digest.Digest][]byte

func (s source) add(mediaType, text string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
	s[d.Digest] = []byte(text)
	return d
}

func (s source) read(d ocispec.Descriptor, limit int64) ([]byte, error) {
	b, ok := s[d.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, lifecycle.ErrNotFound)
	}
	if int64(len(b)) > limit {
		return nil, lifecycle.ErrInvalid
	}
	return b, nil
}

func raw(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWalkRefuses(t *testing.T) {
	s := source{}
	config := s.add(ocispec.MediaTypeImageConfig, `{"os":"linux","architecture":"`+runtime.GOARCH+`","rootfs":{"diff_ids":["sha256:`+strings.Repeat("a", 64)+`"]}}`)
	layer := s.add(ocispec.MediaTypeImageLayer, "layer")
	good := ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{layer}}
	if c, err := Walk(s.add(ocispec.MediaTypeImageManifest, raw(t, good)), "good", s.read); err != nil || len(c.Layers) != 1 {
		t.Fatalf("a good one: %+v, %v", c, err)
	}
	nested := s.add(ocispec.MediaTypeImageManifest, raw(t, good))
	for range maxNested + 1 {
		nested = s.add(ocispec.MediaTypeImageIndex, raw(t, ocispec.Index{Manifests: []ocispec.Descriptor{nested}}))
	}
	artifact := good
	artifact.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	odd := good
	odd.Layers = []ocispec.Descriptor{{Digest: "md5:abc"}}
	negative := good
	negative.Layers = []ocispec.Descriptor{{Digest: layer.Digest, Size: -1}}
	many := good
	many.Layers = make([]ocispec.Descriptor, MaxLayers+1)
	fewer := good
	fewer.Layers = []ocispec.Descriptor{}
	for name, c := range map[string]struct {
		doc  string
		kind error
	}{
		"not JSON":              {"{", lifecycle.ErrInvalid},
		"neither":               {"{}", lifecycle.ErrInvalid},
		"both":                  {`{"config":{"digest":"` + config.Digest.String() + `"},"manifests":[]}`, lifecycle.ErrInvalid},
		"schema 1":              {`{"schemaVersion":1,"fsLayers":[]}`, lifecycle.ErrUnsupported},
		"empty index":           {`{"manifests":[]}`, lifecycle.ErrNotFound},
		"nested too deep":       {string(s[nested.Digest]), lifecycle.ErrInvalid},
		"no image":              {raw(t, artifact), lifecycle.ErrUnsupported},
		"odd digest":            {raw(t, odd), lifecycle.ErrInvalid},
		"negative size":         {raw(t, negative), lifecycle.ErrInvalid},
		"too many layers":       {raw(t, many), lifecycle.ErrInvalid},
		"fewer layers than ids": {raw(t, fewer), lifecycle.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Walk(s.add(ocispec.MediaTypeImageManifest, c.doc), name, s.read); !errors.Is(err, c.kind) {
				t.Errorf("got %v, want %v", err, c.kind)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	for name, c := range map[string]struct {
		cred       *Credentials
		host       string
		user, pass string
		bad        bool
	}{
		"none":              {nil, "h", "", "", false},
		"plain":             {&Credentials{Username: "u", Password: "p"}, "h", "u", "p", false},
		"auth":              {&Credentials{Auth: "dTpwOnE="}, "h", "u", "p:q", false},
		"auth without pad":  {&Credentials{Auth: "dTpwOnE"}, "h", "u", "p:q", false},
		"auth is no base64": {&Credentials{Auth: "!"}, "h", "", "", true},
		"auth has no colon": {&Credentials{Auth: "dQ=="}, "h", "", "", true},
		"identity":          {&Credentials{Username: "u", IdentityToken: "t"}, "h", "", "t", false},
		"server matches":    {&Credentials{Username: "u", Password: "p", ServerAddress: "https://H:443/v2"}, "h", "u", "p", false},
		"another port":      {&Credentials{Username: "u", Password: "p", ServerAddress: "h:5000"}, "h:5001", "", "", false},
		"Docker Hub":        {&Credentials{Username: "u", Password: "p", ServerAddress: "https://index.docker.io/v1/"}, "registry-1.docker.io", "u", "p", false},
		"bad server":        {&Credentials{Username: "u", Password: "p", ServerAddress: "https://"}, "h", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := c.cred.login()
			if (err != nil) != c.bad {
				t.Fatal(err)
			}
			if user, pass, _ := l.forHost(c.host); user != c.user || pass != c.pass {
				t.Errorf("got %q, %q", user, pass)
			}
		})
	}
	l, err := (&Credentials{RegistryToken: "t"}).login()
	if err != nil || l.tokenFor("h") != "" {
		t.Errorf("a registry token without a server went to %v", err)
	}
}

// FuzzWalk: no document makes Walk panic, loop, or return what was not checked.
func FuzzWalk(f *testing.F) {
	s := source{}
	config := s.add(ocispec.MediaTypeImageConfig, `{"os":"linux","rootfs":{"diff_ids":[]}}`)
	manifest := s.add(ocispec.MediaTypeImageManifest, raw(f, ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{}}))
	f.Add(raw(f, ocispec.Manifest{Config: config}), "{}")
	f.Add(raw(f, ocispec.Index{Manifests: []ocispec.Descriptor{manifest}}), `{"rootfs":{"diff_ids":["x"]}}`)
	f.Fuzz(func(t *testing.T, doc, conf string) {
		blobs := source{config.Digest: []byte(conf), manifest.Digest: s[manifest.Digest]}
		c, err := Walk(blobs.add(ocispec.MediaTypeImageIndex, doc), "fuzz", blobs.read)
		if err != nil {
			return
		}
		if len(c.Layers) != len(c.DiffIDs) || len(c.Layers) > MaxLayers {
			t.Errorf("%d layers, %d ids", len(c.Layers), len(c.DiffIDs))
		}
		for _, l := range c.Layers {
			if l.Digest.Validate() != nil || l.Size < 0 {
				t.Errorf("layer %+v", l)
			}
		}
	})
}

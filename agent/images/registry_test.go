package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// front is a server before a real registry that can answer in its stead.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	log   []string                                          // "GET /v2/…"
	fault func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newFront(t *testing.T, reg string) *front {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: reg})
	f := &front{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.log = append(f.log, r.Method+" "+r.URL.Path)
		fault := f.fault
		f.mu.Unlock()
		if fault == nil || !fault(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) host() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *front) set(fault func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.log = fault, nil
}

func (f *front) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// world is a registry with one image, a front before it, and an empty store.
type world struct {
	reg   string
	front *front
	built *imagetest.Built
	l     *Local
	ref   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kerneltest.NeedRoot(t)
	w := &world{reg: imagetest.StartRegistry(t)}
	img := imagetest.New([]imagetest.File{{Name: "big", Data: noise(400_000)}}, []imagetest.File{{Name: "small", Data: "x"}})
	w.built = push(t, img, w.reg, "test/image", "v1")
	w.front = newFront(t, w.reg)
	w.l = open(t, t.TempDir())
	w.ref = w.front.host() + "/test/image:v1"
	return w
}

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

func isBlob(r *http.Request, d ocispec.Descriptor) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+d.Digest.String())
}

// times makes a fault happen n times.
func times(n int, match func(*http.Request) bool, do func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	var left atomic.Int64
	left.Store(int64(n))
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !match(r) || left.Add(-1) < 0 {
			return false
		}
		do(w, r)
		return true
	}
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// half sends the first half of what a blob request asks for and breaks the connection.
func half(blob []byte, ranges bool) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		rest := blob
		if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
			n, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
			rest = blob[n:]
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", n, len(blob)-1, len(blob)))
			w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
		}
		_, _ = w.Write(rest[:len(rest)/2])
		panic(http.ErrAbortHandler)
	}
}

// TestFaultsThatHeal: the registry misbehaves some times, the pull succeeds.
func TestFaultsThatHeal(t *testing.T) {
	w := newWorld(t)
	layer := w.built.Layers[0]
	blob := w.built.Blobs[layer.Digest]
	all := func(*http.Request) bool { return true }
	isLayer := func(r *http.Request) bool { return isBlob(r, layer) }
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"429 with Retry-After":        times(2, all, status(429, "Retry-After", "0")),
		"429 without":                 times(2, all, status(429)),
		"500":                         times(2, all, status(500)),
		"503 on a blob":               times(3, isLayer, status(503)),
		"broken stream":               times(3, isLayer, half(blob, true)),
		"broken stream, no ranges":    times(1, isLayer, half(blob, false)),
		"connection closed at once":   times(2, isLayer, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"stalled stream is resumed":   times(1, isLayer, stall(blob)),
		"no HEAD for manifests":       times(99, func(r *http.Request) bool { return r.Method == http.MethodHead }, status(405)),
		"no ranges, whole blob again": times(1, isLayer, half(blob, false)),
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			if strings.HasPrefix(name, "stalled") {
				l.fetch.Stall = stallTime()
			}
			w.front.set(fault)
			img, err := l.Pull(t.Context(), w.ref, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if img.ID != w.built.Config.Digest.String() {
				t.Errorf("pulled %s", img.ID)
			}
		})
	}
}

// stallTime is how long a registry may send nothing in the tests that wait for it: longer than a good one ever
// takes on this machine, which under software emulation is seconds.
func stallTime() time.Duration {
	if os.Getenv("SLIPWAY_TEST_SLOW") != "" {
		return 10 * time.Second
	}
	return 500 * time.Millisecond
}

// stall sends half and then nothing, until the client goes.
func stall(blob []byte) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:len(blob)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// TestFaultsThatStay: the pull fails with the right kind, and nothing stays of it.
func TestFaultsThatStay(t *testing.T) {
	w := newWorld(t)
	layer, config, manifest := w.built.Layers[0], w.built.Config, w.built.Manifest
	lie := func(d ocispec.Descriptor) func(http.ResponseWriter, *http.Request) bool {
		blob := slices.Clone(w.built.Blobs[d.Digest])
		blob[len(blob)-10] ^= 1
		return times(99, func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, d.Digest.String())
		},
			func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", d.MediaType)
				_, _ = rw.Write(blob)
			})
	}
	all := func(*http.Request) bool { return true }
	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		kind  error
		text  string
	}{
		{"a layer that lies", lie(layer), lifecycle.ErrInvalid, ""},
		{"a configuration that lies", lie(config), lifecycle.ErrInvalid, "sent sha256:"},
		{"a manifest that lies", lie(manifest), lifecycle.ErrInvalid, "sent sha256:"},
		{"not found", times(99, all, status(404)), lifecycle.ErrNotFound, w.ref},
		{"a blob not found", times(99, func(r *http.Request) bool { return isBlob(r, layer) }, status(404)), lifecycle.ErrNotFound, layer.Digest.String()},
		{"500 for ever", times(999, all, status(500)), lifecycle.ErrUnavailable, "500"},
		{"429 for ever", times(999, all, status(429)), lifecycle.ErrUnavailable, "429"},
		{"streams that break for ever", times(999, func(r *http.Request) bool { return isBlob(r, layer) }, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), lifecycle.ErrUnavailable, ""},
		{"403", times(99, all, status(403)), lifecycle.ErrInvalid, "denies access"},
		{"401 without a challenge", times(99, all, status(401)), lifecycle.ErrInvalid, "denies access"},
		{"schema 1", times(99, all, status(200, "Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws", "Docker-Content-Digest", manifest.Digest.String(), "Content-Length", "10")), lifecycle.ErrUnsupported, "schema 1"},
		{"a huge manifest", times(99, all, status(200, "Content-Type", ocispec.MediaTypeImageManifest, "Docker-Content-Digest", manifest.Digest.String(), "Content-Length", "99999999")), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t, t.TempDir())
			w.front.set(c.fault)
			_, err := l.Pull(t.Context(), w.ref, nil, nil)
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want kind %v and %q", err, c.kind, c.text)
			}
			checkEmpty(t, l)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		l := open(t, t.TempDir())
		if _, err := l.Pull(t.Context(), "127.0.0.1:1/test/image:v1", nil, nil); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// checkEmpty wants a store without a trace of the pull that failed.
func checkEmpty(t *testing.T, l *Local) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if info, _ := l.FSInfo(); info.UsedBytes != 0 {
		t.Errorf("%d bytes used", info.UsedBytes)
	}
	for _, dir := range []string{"l", "layers", "images", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(l.o.Dir, dir))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if e.Name() != "empty" {
				t.Errorf("left behind: %s/%s", dir, e.Name())
			}
		}
	}
}

func TestStalledPullIsCancelled(t *testing.T) {
	w := newWorld(t)
	kerneltest.Balance(t, kerneltest.Scope{})
	t.Cleanup(func() { // the test's own connections
		w.front.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	ctx, cancel := context.WithCancel(t.Context())
	layer := w.built.Layers[0]
	w.front.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r, layer) {
			return false
		}
		time.AfterFunc(50*time.Millisecond, cancel)
		stall(w.built.Blobs[layer.Digest])(rw, r)
		return true
	})
	if _, err := w.l.Pull(ctx, w.ref, nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	checkEmpty(t, w.l)
}

// TestSingleFlight: callers of one reference share a pull; one that leaves does not end
// it, the last one does.
func TestSingleFlight(t *testing.T) {
	w := newWorld(t)
	layer := w.built.Layers[0]
	arrived, proceed := make(chan struct{}, 9), make(chan struct{})
	w.front.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isBlob(r, layer) {
			arrived <- struct{}{}
			<-proceed
		}
		return false
	})
	type result struct {
		img *Image
		err error
	}
	results := make(chan result, 5)
	leaving, leave := context.WithCancel(t.Context())
	for i := range 5 {
		ctx := t.Context()
		if i == 0 {
			ctx = leaving
		}
		go func() {
			img, err := w.l.Pull(ctx, w.ref, nil, nil)
			results <- result{img, err}
		}()
	}
	<-arrived
	waitWaiters(t, w.l, 5)
	if got := w.l.List(); len(got) != 0 {
		t.Errorf("an image half pulled is listed: %v", got[0])
	}
	leave()
	if r := <-results; !errors.Is(r.err, context.Canceled) {
		t.Fatalf("the one that left got %v", r.err)
	}
	close(proceed)
	for range 4 {
		if r := <-results; r.err != nil {
			t.Fatal(r.err)
		}
	}
	if n := w.front.count("GET /v2/test/image/blobs/" + layer.Digest.String()); n != 1 {
		t.Errorf("layer fetched %d times", n)
	}
	w.front.set(nil)
	if _, err := w.l.Pull(t.Context(), w.ref, nil, nil); err != nil {
		t.Fatal(err)
	}
	w.front.mu.Lock()
	defer w.front.mu.Unlock()
	if len(w.front.log) != 1 {
		t.Errorf("a second pull of the same digest took %q", w.front.log)
	}
}

func waitWaiters(t *testing.T, l *Local, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		n := 0
		for _, f := range l.pulls {
			f.mu.Lock()
			n += f.waiters
			f.mu.Unlock()
		}
		l.mu.Unlock()
		if n == want {
			return
		}
	}
	t.Fatalf("never %d callers wait", want)
}

func TestTagMoves(t *testing.T) {
	w := newWorld(t)
	first, err := w.l.Pull(t.Context(), w.ref, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := push(t, twoLayers(), w.reg, "test/image", "v1")
	second, err := w.l.Pull(t.Context(), w.ref, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.ID != b.Config.Digest.String() || !slices.Equal(second.RepoTags, []string{w.ref}) {
		t.Errorf("second %+v", second)
	}
	old, err := w.l.Get(first.ID)
	if err != nil || len(old.RepoTags) != 0 || len(old.RepoDigests) != 1 {
		t.Errorf("first after the tag moved: %+v, %v", old, err)
	}
	if got, err := w.l.Get(w.ref); err != nil || got.ID != second.ID {
		t.Errorf("tag is %v, %v", got, err)
	}
	byDigest := w.front.host() + "/test/image@" + w.built.Manifest.Digest.String()
	if got, err := w.l.Pull(t.Context(), byDigest, nil, nil); err != nil || got.ID != first.ID {
		t.Errorf("pull by digest: %v, %v", got, err)
	}
	if err := w.l.Remove(t.Context(), byDigest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.l.Get(first.ID); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("an image without a name: %v", err)
	}
}

func TestBasicAuth(t *testing.T) {
	w := newWorld(t)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	w.front.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == want {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	authCases(t, w)
}

// TestBearerAuth has the token service of distribution's spec behind the challenge.
func TestBearerAuth(t *testing.T) {
	w := newWorld(t)
	w.front.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_ = r.ParseForm()
			user, pass, _ := r.BasicAuth()
			ok := user == "alice" && pass == "secret" || r.Form.Get("username") == "alice" && r.Form.Get("password") == "secret" ||
				r.Form.Get("refresh_token") == "identity"
			if !ok || !strings.Contains(r.Form.Get("scope"), "repository:test/image:pull") {
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			}
			fmt.Fprint(rw, `{"token":"good","access_token":"good","expires_in":300}`)
			return true
		}
		if r.Header.Get("Authorization") == "Bearer good" {
			return false
		}
		rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:test/image:pull"`, r.Host))
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	authCases(t, w)
	for name, a := range map[string]*Auth{
		"identity token": {IdentityToken: "identity"},
		"registry token": {RegistryToken: "good", ServerAddress: w.front.host()},
	} {
		if _, err := open(t, t.TempDir()).Pull(t.Context(), w.ref, a, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func authCases(t *testing.T, w *world) {
	t.Helper()
	both := base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	for name, c := range map[string]struct {
		auth *Auth
		ok   bool
	}{
		"user and password": {&Auth{Username: "alice", Password: "secret"}, true},
		"auth":              {&Auth{Auth: both}, true},
		"for this server":   {&Auth{Auth: both, ServerAddress: "http://" + w.front.host() + "/v1/"}, true},
		"for another":       {&Auth{Auth: both, ServerAddress: "registry.invalid"}, false},
		"wrong":             {&Auth{Username: "alice", Password: "guess"}, false},
		"none":              {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			_, err := l.Pull(t.Context(), w.ref, c.auth, nil)
			if c.ok && err != nil {
				t.Error(err)
			}
			if !c.ok && !errors.Is(err, lifecycle.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// TestMirror: hosts.toml sends what is another host's to the mirror, over plain HTTP.
func TestMirror(t *testing.T) {
	w := newWorld(t)
	certs := t.TempDir()
	dir := filepath.Join(certs, "registry.invalid")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("server = \"https://registry.invalid\"\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", w.front.URL)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	w.l.fetch.CertsDir = certs
	img, err := w.l.Pull(t.Context(), "registry.invalid/test/image:v1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(img.RepoTags, []string{"registry.invalid/test/image:v1"}) {
		t.Errorf("tags %q", img.RepoTags)
	}
}

func TestIndexChoosesPlatform(t *testing.T) {
	w := newWorld(t)
	other := twoLayers()
	other.Config.Architecture = "s390x"
	ob := push(t, other, w.reg, "test/image", "other")
	mine, foreign := w.built.Manifest, ob.Manifest
	mine.Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	foreign.Platform = &ocispec.Platform{OS: "linux", Architecture: "s390x"}
	put := func(tag string, list ...ocispec.Descriptor) string {
		if err := imagetest.PushManifest(t.Context(), w.reg, "test/image", tag, ocispec.MediaTypeImageIndex, imagetest.Index(list...)); err != nil {
			t.Fatal(err)
		}
		return w.front.host() + "/test/image:" + tag
	}
	img, err := w.l.Pull(t.Context(), put("multi", foreign, mine), nil, nil)
	if err != nil || img.ID != w.built.Config.Digest.String() {
		t.Errorf("got %v, %v", img, err)
	}
	if _, err := w.l.Pull(t.Context(), put("foreign", foreign), nil, nil); !errors.Is(err, lifecycle.ErrNotFound) || !strings.Contains(err.Error(), "s390x") {
		t.Errorf("an index without this machine: %v", err)
	}
	if _, err := w.l.Pull(t.Context(), w.front.host()+"/test/image:other", nil, nil); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("a manifest for another machine: %v", err)
	}
}

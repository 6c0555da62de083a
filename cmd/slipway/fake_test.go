package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/cri/extension"
)

const (
	podID = "aaaa000000000000000000000000000000000000000000000000000000000001"
	ctrID = "bbbb000000000000000000000000000000000000000000000000000000000001"
	imgID = "sha256:cccc000000000000000000000000000000000000000000000000000000000001"
)

// fakeNode is a node in memory: one pod made by run, and whatever a test puts there. It
// notes each changing call as a line.
type fakeNode struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	mu         sync.Mutex
	calls      []string
	pods       []*runtimeapi.PodSandbox
	containers []*runtimeapi.Container
	images     []*runtimeapi.Image
	stats      [][]*runtimeapi.ContainerStats
	pod        *runtimeapi.PodSandboxConfig
	config     *runtimeapi.ContainerConfig
	logPath    string
	exitCode   int32
	output     string        // what the container writes to its log at start
	runsOn     bool          // it does not exit by itself
	started    chan struct{} // closed by StartContainer
	fail       map[string]error
	url        string // of streams
	serve      func(*websocket.Conn)
	pulled     string
	loaded     bytes.Buffer
}

// node starts f on a socket and returns the socket's path.
func start(t *testing.T, f *fakeNode) string {
	t.Helper()
	f.started = make(chan struct{})
	up := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	streams := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		_ = ws.WriteMessage(websocket.BinaryMessage, nil)
		f.serve(ws)
	}))
	t.Cleanup(streams.Close)
	f.url = streams.URL
	// A socket's path has 107 bytes; t.TempDir's may be longer.
	dir, err := os.MkdirTemp("", "slipway-cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, f)
	runtimeapi.RegisterImageServiceServer(s, f)
	extension.Register(s, &extension.Server{Images: fakeImages{f}})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // the test ended before Serve began
			t.Error(err)
		}
	})
	return path
}

func (f *fakeNode) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	f.calls = append(f.calls, line)
	verb, _, _ := strings.Cut(line, " ")
	return f.fail[verb]
}

func (f *fakeNode) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "slipway", RuntimeVersion: "1.2.3", RuntimeApiVersion: "v1"}, nil
}

func (f *fakeNode) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: f.pods}, f.fail["ListPodSandbox"]
}

func (f *fakeNode) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	var out []*runtimeapi.Container
	for _, c := range f.containers {
		if s := r.GetFilter().GetState(); s != nil && s.GetState() != c.GetState() {
			continue
		}
		if p := r.GetFilter().GetPodSandboxId(); p != "" && p != c.GetPodSandboxId() {
			continue
		}
		out = append(out, c)
	}
	return &runtimeapi.ListContainersResponse{Containers: out}, nil
}

func (f *fakeNode) RunPodSandbox(_ context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	f.pod = r.GetConfig()
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: podID}, f.note("RunPodSandbox")
}

func (f *fakeNode) CreateContainer(_ context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	f.config = r.GetConfig()
	f.logPath = filepath.Join(f.pod.GetLogDirectory(), f.config.GetLogPath())
	return &runtimeapi.CreateContainerResponse{ContainerId: ctrID}, f.note("CreateContainer %s", r.GetConfig().GetImage().GetImage()[:11])
}

func (f *fakeNode) StartContainer(context.Context, *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	if err := f.note("StartContainer"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.logPath, []byte(f.output), 0o600); err != nil {
		return nil, err
	}
	close(f.started)
	return &runtimeapi.StartContainerResponse{}, nil
}

func (f *fakeNode) StopContainer(_ context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	err := f.note("StopContainer %s %d", r.GetContainerId()[:4], r.GetTimeout())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runsOn, f.exitCode = false, 143
	return &runtimeapi.StopContainerResponse{}, err
}

func (f *fakeNode) RemoveContainer(context.Context, *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return &runtimeapi.RemoveContainerResponse{}, f.note("RemoveContainer")
}

func (f *fakeNode) StopPodSandbox(context.Context, *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return &runtimeapi.StopPodSandboxResponse{}, f.note("StopPodSandbox")
}

func (f *fakeNode) RemovePodSandbox(context.Context, *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return &runtimeapi.RemovePodSandboxResponse{}, f.note("RemovePodSandbox")
}

func (f *fakeNode) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{
		Id: r.GetPodSandboxId(), Metadata: f.pod.GetMetadata(), Labels: f.pod.GetLabels(), Annotations: f.pod.GetAnnotations(),
	}}, nil
}

func (f *fakeNode) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &runtimeapi.ContainerStatus{
		Id: r.GetContainerId(), LogPath: f.logPath, State: runtimeapi.ContainerState_CONTAINER_EXITED, ExitCode: f.exitCode,
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
	}
	if f.runsOn {
		s.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return &runtimeapi.ContainerStatusResponse{Status: s, Info: map[string]string{"info": `{"pid": 7, "config": {"tty": false, "stdin": true}}`, "note": "text"}}, nil
}

func (f *fakeNode) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats[0]
	if len(f.stats) > 1 {
		f.stats = f.stats[1:]
	}
	return &runtimeapi.ListContainerStatsResponse{Stats: s}, nil
}

func (f *fakeNode) Exec(_ context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return &runtimeapi.ExecResponse{Url: f.url}, f.note("Exec %s %q tty=%v stdin=%v", r.GetContainerId()[:4], r.GetCmd(), r.GetTty(), r.GetStdin())
}

func (f *fakeNode) Attach(_ context.Context, r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return &runtimeapi.AttachResponse{Url: f.url}, f.note("Attach stdin=%v tty=%v", r.GetStdin(), r.GetTty())
}

func (f *fakeNode) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: f.images}, nil
}

func (f *fakeNode) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	for _, i := range f.images {
		for _, t := range i.GetRepoTags() {
			if t == r.GetImage().GetImage() {
				return &runtimeapi.ImageStatusResponse{Image: i}, nil
			}
		}
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

func (f *fakeNode) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return &runtimeapi.RemoveImageResponse{}, f.note("RemoveImage %s", r.GetImage().GetImage())
}

type fakeImages struct{ f *fakeNode }

func (i fakeImages) Pull(_ context.Context, ref string, auth *images.Auth, p images.Progress) (*images.Image, error) {
	i.f.pulled = ref
	if auth != nil {
		i.f.pulled += " as " + auth.Username
	}
	if ref == "none" {
		return nil, status.Error(codes.NotFound, "none: not found in the registry")
	}
	p(images.Step{Phase: "resolving"})
	p(images.Step{Layer: "sha256:1234567890abcdef", Phase: "downloading", Total: 2048})
	p(images.Step{Layer: "sha256:1234567890abcdef", Phase: "done", Current: 2048, Total: 2048})
	return &images.Image{ID: imgID, RepoTags: []string{ref}, Size: 4096}, nil
}

func (i fakeImages) Load(_ context.Context, r io.Reader) ([]*images.Image, error) {
	if _, err := io.Copy(&i.f.loaded, r); err != nil {
		return nil, err
	}
	return []*images.Image{{ID: imgID, RepoTags: []string{"a:1"}, Size: 4096}}, nil
}

func (i fakeImages) Save(_ context.Context, w io.Writer, refs ...string) error {
	if refs[0] == "none" {
		_, _ = io.WriteString(w, "half")
		return status.Error(codes.NotFound, "no image none")
	}
	_, err := io.WriteString(w, "archive of "+strings.Join(refs, " "))
	return err
}

// result is what one command line did.
type result struct {
	code     int
	out, err string
}

func cli(ctx context.Context, in io.Reader, socket string, args ...string) result {
	var out, errs lockedBuffer
	code := execute(ctx, append([]string{"--socket", socket}, args...), in, &out, &errs)
	return result{code, out.String(), errs.String()}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var fixedNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

package server

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

const imageID = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// node is a server with fakes behind it and a client in front, over a real socket.
type node struct {
	*journal
	runtime runtimeapi.RuntimeServiceClient
	image   runtimeapi.ImageServiceClient
	log     *lockedBuffer

	pods       *fakePods
	containers *fakeContainers
	images     *fakeImages
	state      *fakeNode
	server     *Server
}

// services are fakes that know a ready pod "podready", a stopped one "podgone", and in
// the first a running container "run1" and an ended one "end1".
func services() (*node, Options) {
	j := &journal{}
	n := &node{journal: j, log: &lockedBuffer{}}
	cfg := func(name string) *runtimeapi.PodSandboxConfig {
		return &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Uid: "u-" + name, Namespace: "default"},
			Labels:   map[string]string{"app": name},
		}
	}
	n.pods = &fakePods{journal: j, list: []*pods.Pod{
		{ID: "podready", Config: cfg("ready"), State: lifecycle.PodReady, CreatedAt: time.Unix(1, 0)},
		{ID: "podgone", Config: cfg("gone"), State: lifecycle.PodNotReady, CreatedAt: time.Unix(1, 0)},
		{ID: "podcoming", Config: cfg("coming"), State: lifecycle.PodCreating, CreatedAt: time.Unix(1, 0)},
	}}
	container := func(id string, s lifecycle.ContainerState) *containers.Container {
		return &containers.Container{
			ID: id, PodID: "podready", State: s, ImageID: imageID, CreatedAt: time.Unix(1, 0),
			Config: &runtimeapi.ContainerConfig{
				Metadata: &runtimeapi.ContainerMetadata{Name: id},
				Image:    &runtimeapi.ImageSpec{Image: imageID},
				Labels:   map[string]string{"app": id},
			},
		}
	}
	n.containers = &fakeContainers{journal: j, list: []*containers.Container{
		container("run1", lifecycle.ContainerRunning), container("end1", lifecycle.ContainerExited),
		container("coming1", lifecycle.ContainerCreating),
	}}
	n.images = &fakeImages{j, []*images.Image{
		{ID: imageID, RepoTags: []string{"docker.io/library/busybox:latest"}, Size: 9},
		{ID: "sha256:second", RepoTags: []string{"docker.io/library/nginx:1"}, Size: 9},
	}}
	n.state = &fakeNode{journal: j}
	log := logrus.New()
	log.SetOutput(n.log)
	return n, Options{
		Pods: n.pods, Containers: n.containers, Images: n.images, Stats: &fakeStats{j, n.pods, n.containers},
		Events: events.New(n.pods, n.containers),
		Node:   n.state, Streams: &fakeStreams{j}, Version: "0.1.0", Log: log,
		Config: map[string]any{"root": "/var/lib/slipway"},
	}
}

// start serves the fakes on a socket of the test's own.
func start(t testing.TB) *node {
	t.Helper()
	n, o := services()
	n.serve(t, o)
	return n
}

func (n *node) serve(t testing.TB, o Options) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.server = s
	path := filepath.Join(t.TempDir(), "cri.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(64<<10)) // gRPC's own grows with what is sent: a test of a reader that is stuck needs its bound
	if err != nil {
		t.Fatal(err)
	}
	n.runtime, n.image = runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop(t.Context())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func callContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func podConfig() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default"},
	}
}

func containerConfig() *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: "busybox"},
	}
}

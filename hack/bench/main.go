// Command bench drives one or more CRI sockets side by side in interleaved rounds and prints what
// each call takes: p50, p90 and p99 in milliseconds, and the rate of starts in parallel.
//
//	go run ./hack/bench -n 50 -image docker.io/library/busybox:latest slipway=unix:///run/slipway/slipway.sock other=unix:///run/…
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// target is one runtime under test.
type target struct {
	name    string
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
	times   map[string][]time.Duration
	mu      sync.Mutex
}

var (
	rounds   = flag.Int("n", 50, "pods started one after the other, for each target")
	parallel = flag.Int("p", 8, "pods started at once in the parallel part; 0 leaves it out")
	many     = flag.Int("m", 60, "pods in the parallel part")
	image    = flag.String("image", "docker.io/library/busybox:latest", "an image with sleep and true")
	held     = flag.Int("hold", 0, "pods held at once, for the lists and for memory; 0 leaves it out")
	pids     = flag.String("pids", "", "comma-separated processes whose memory is read while pods are held")
	execs    = flag.Int("e", 3, "ExecSync calls in each pod")
)

func main() {
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var all []*target
	for _, a := range args {
		name, socket, ok := strings.Cut(a, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=SOCKET", a)
		}
		t, err := dial(name, socket)
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	ctx := context.Background()
	for i := range *rounds {
		for _, t := range all {
			if err := t.pod(ctx, fmt.Sprintf("bench-%d", i), *execs); err != nil {
				return fmt.Errorf("%s, round %d: %w", t.name, i, err)
			}
		}
	}
	for _, t := range all {
		t.print()
	}
	for _, t := range all {
		if *held > 0 {
			if err := t.hold(ctx, *held, strings.FieldsFunc(*pids, func(r rune) bool { return r == ',' })); err != nil {
				return fmt.Errorf("%s, holding pods: %w", t.name, err)
			}
		}
		if *parallel == 0 {
			continue
		}
		if err := t.parallel(ctx); err != nil {
			return fmt.Errorf("%s, in parallel: %w", t.name, err)
		}
	}
	return nil
}

func dial(name, socket string) (*target, error) {
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	t := &target{
		name: name, runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn),
		times: map[string][]time.Duration{},
	}
	_, err = t.images.PullImage(context.Background(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: *image}})
	return t, err
}

// timed runs f and books what it took.
func (t *target) timed(what string, f func() error) error {
	began := time.Now()
	err := f()
	took := time.Since(began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[what] = append(t.times[what], took)
	return err
}

// started is a running pod.
type started struct{ pod, container string }

func (t *target) start(ctx context.Context, name string) (s started, err error) {
	cfg := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
		LogDirectory: "/tmp/slipway-bench-logs/" + t.name + "/" + name,
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	if err := os.MkdirAll(cfg.LogDirectory, 0o755); err != nil {
		return s, err
	}
	err = t.timed("pod start", func() error {
		err := t.timed("  RunPodSandbox", func() error {
			r, err := t.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: cfg})
			s.pod = r.GetPodSandboxId()
			return err
		})
		if err != nil {
			return err
		}
		err = t.timed("  CreateContainer", func() error {
			r, err := t.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
				PodSandboxId: s.pod, SandboxConfig: cfg,
				Config: &runtimeapi.ContainerConfig{
					Metadata: &runtimeapi.ContainerMetadata{Name: "c"},
					Image:    &runtimeapi.ImageSpec{Image: *image},
					Command:  []string{"sleep", "86400"}, LogPath: "c.log",
					Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
						NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
						Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
					}},
				},
			})
			s.container = r.GetContainerId()
			return err
		})
		if err != nil {
			return err
		}
		return t.timed("  StartContainer", func() error {
			_, err := t.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: s.container})
			return err
		})
	})
	return s, err
}

func (t *target) end(ctx context.Context, s started) error {
	return t.timed("pod end", func() error {
		err := t.timed("  StopContainer", func() error {
			_, err := t.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: s.container})
			return err
		})
		if err != nil {
			return err
		}
		err = t.timed("  StopPodSandbox", func() error {
			_, err := t.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.pod})
			return err
		})
		if err != nil {
			return err
		}
		return t.timed("  RemovePodSandbox", func() error {
			_, err := t.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.pod})
			return err
		})
	})
}

func (t *target) pod(ctx context.Context, name string, execs int) error {
	s, err := t.start(ctx, name)
	if err != nil {
		return err
	}
	for range execs {
		err := t.timed("ExecSync", func() error {
			r, err := t.runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: s.container, Cmd: []string{"true"}})
			if err == nil && r.GetExitCode() != 0 {
				err = fmt.Errorf("true exits %d: %s", r.GetExitCode(), r.GetStderr())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return t.end(ctx, s)
}

// parallel starts many pods, some at once, and prints the rate; then ends them.
func (t *target) parallel(ctx context.Context) error {
	pods := make([]started, *many)
	errs := make(chan error, *many)
	slots := make(chan struct{}, *parallel)
	began := time.Now()
	t.times = map[string][]time.Duration{}
	for i := range pods {
		slots <- struct{}{}
		go func() {
			var err error
			pods[i], err = t.start(ctx, fmt.Sprintf("many-%d", i))
			<-slots
			errs <- err
		}()
	}
	for range pods {
		if err := <-errs; err != nil {
			return err
		}
	}
	rate := float64(*many) / time.Since(began).Seconds()
	fmt.Printf("\n%s: %d pods, %d at once: %.1f pods/s\n", t.name, *many, *parallel, rate)
	for _, s := range pods {
		if err := t.end(ctx, s); err != nil {
			return err
		}
	}
	t.print()
	return nil
}

func (t *target) print() {
	fmt.Printf("\n%-20s %8s %8s %8s   n\n", t.name+", ms", "p50", "p90", "p99")
	for _, what := range []string{
		"pod start", "  RunPodSandbox", "  CreateContainer", "  StartContainer", "ExecSync",
		"pod end", "  StopContainer", "  StopPodSandbox", "  RemovePodSandbox",
	} {
		d := t.times[what]
		if len(d) == 0 {
			continue
		}
		fmt.Printf("%-20s %8.2f %8.2f %8.2f   %d\n", what, quantile(d, .5), quantile(d, .9), quantile(d, .99), len(d))
	}
}

// quantile sorts d and returns its p-quantile in milliseconds.
func quantile(d []time.Duration, p float64) float64 {
	slices.Sort(d)
	return float64(d[int(p*float64(len(d)-1))].Microseconds()) / 1000
}

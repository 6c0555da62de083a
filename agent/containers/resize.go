package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/inventory"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// complete adds to a change what the kernel takes only together: a quota and its period, memory and memory
// with swap. What the request leaves out of a pair stays what the container has. cur and r stay.
func complete(cur, r *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	if r == nil {
		return nil
	}
	next := proto.CloneOf(r)
	if next.CpuQuota != 0 && next.CpuPeriod == 0 {
		next.CpuPeriod = cur.GetCpuPeriod()
	}
	if next.CpuPeriod != 0 && next.CpuQuota == 0 {
		next.CpuQuota = cur.GetCpuQuota()
	}
	if next.MemorySwapLimitInBytes != 0 && next.MemoryLimitInBytes == 0 {
		next.MemoryLimitInBytes = cur.GetMemoryLimitInBytes()
	}
	swap := cur.GetMemorySwapLimitInBytes()
	if next.MemoryLimitInBytes > 0 && next.MemorySwapLimitInBytes == 0 && (swap == -1 || swap >= next.MemoryLimitInBytes) {
		next.MemorySwapLimitInBytes = swap
	}
	return next
}

// oomScore is the score that a request asks for, as far as the agent may set it; nil for none.
func (c *Containers) oomScore(v *Container, r *runtimeapi.LinuxContainerResources) *runtime.OOMScore {
	if r.GetOomScoreAdj() == 0 || r.GetOomScoreAdj() == v.Config.GetLinux().GetResources().GetOomScoreAdj() {
		return nil
	}
	return &runtime.OOMScore{Pid: v.Pid, Adj: max(int(r.GetOomScoreAdj()), c.o.Host.OOMScoreMin)}
}

// apply changes a container's cgroup and then its record; when the record cannot be written, the cgroup is put back.
func (c *Containers) apply(ctx context.Context, e *inventory.Entry[Container], res *specs.LinuxResources, score *runtime.OOMScore, change func(*Container) error) error {
	undo, err := c.o.Runtime.Change(ctx, e.Snapshot().CgroupPath, res, score)
	if err != nil {
		return err
	}
	if err := e.Set(change); err != nil {
		return errors.Join(err, undo())
	}
	if score == nil {
		return nil
	}
	if err := c.rescore(e.ID, score.Adj); err != nil { // it is only of execs to come
		c.o.Log.WithField("container", e.ID).WithError(err).Warn("execs keep the former oom_score_adj")
	}
	return nil
}

// rescore puts the score into the kept spec, from which execs take theirs.
func (c *Containers) rescore(id string, score int) error {
	spec, err := c.Spec(id)
	if err != nil {
		return err
	}
	spec.Process.OOMScoreAdj = &score
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	path := filepath.Join(c.o.Layout.ContainerDir(id), specFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("runtime-spec of container %s: %w", id, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("runtime-spec of container %s: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.ends[id]; end != nil {
		end.spec = nil // the next exec reads it anew
	}
	return nil
}

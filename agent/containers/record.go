package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/record"
)

// recordVersion is the schema of persisted. Older ones are read, each by its own code.
const recordVersion = 1

// persisted is a container's record; the two protobuf messages as bytes, since those keep every
// field of every version of the API.
type persisted struct {
	Container
	Config []byte `json:"Config"`
	User   []byte `json:"User"`
	BootID string
}

func newStore(dir string) *record.Store {
	return &record.Store{Dir: dir, Kind: "container", Version: recordVersion}
}

func encode(c *Container, bootID string) ([]byte, error) {
	config, err := proto.Marshal(c.Config)
	if err != nil {
		return nil, err
	}
	user, err := proto.Marshal(c.User)
	if err != nil {
		return nil, err
	}
	return json.Marshal(persisted{Container: *c, Config: config, User: user, BootID: bootID})
}

// decode returns the container and the boot that it lived in.
func decode(r record.Record) (*Container, string, error) {
	var v persisted
	if err := json.Unmarshal(r.Payload, &v); err != nil {
		return nil, "", err
	}
	v.Container.Config, v.Container.User = &runtimeapi.ContainerConfig{}, &runtimeapi.ContainerUser{}
	if err := proto.Unmarshal(v.Config, v.Container.Config); err != nil {
		return nil, "", fmt.Errorf("config: %w", err)
	}
	if err := proto.Unmarshal(v.User, v.Container.User); err != nil {
		return nil, "", fmt.Errorf("user: %w", err)
	}
	if v.ID != r.ID || v.Container.Config.GetMetadata() == nil || v.State == "" || v.PodID == "" {
		return nil, "", fmt.Errorf("is of container %q of pod %q, state %q", v.ID, v.PodID, v.State)
	}
	return &v.Container, v.BootID, nil
}

// key reserves a container's name: one per pod, name and attempt.
func key(podID string, c *runtimeapi.ContainerConfig) string {
	m := c.GetMetadata()
	return strings.Join([]string{podID, m.GetName(), strconv.FormatUint(uint64(m.GetAttempt()), 10)}, "\x00")
}

// specFile keeps the runtime-spec beside the record: exec derives its process from it, and
// people inspect it.
const specFile = "spec.json"

func (c *Containers) writeSpec(id string, s *specs.Spec) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.o.Layout.ContainerDir(id), specFile), data, 0o600)
}

// Spec returns the container's runtime-spec as it was created.
func (c *Containers) Spec(id string) (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(c.o.Layout.ContainerDir(id), specFile))
	if err != nil {
		return nil, fmt.Errorf("runtime-spec of container %s: %w", id, err)
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("runtime-spec of container %s: %w", id, err)
	}
	return s, nil
}

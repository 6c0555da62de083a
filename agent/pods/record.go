package pods

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/record"
)

// recordVersion is the schema of persisted. Older ones are read, each by its own code.
const recordVersion = 1

// persisted is a pod's record: the snapshot, with the request as protobuf bytes, since
// those keep every field of every version of the API.
type persisted struct {
	Pod
	Config []byte `json:"Config"`
	BootID string
}

func newStore(dir string) *record.Store {
	return &record.Store{Dir: dir, Kind: "pod", Version: recordVersion}
}

func encode(p *Pod, bootID string) ([]byte, error) {
	config, err := proto.Marshal(p.Config)
	if err != nil {
		return nil, err
	}
	return json.Marshal(persisted{Pod: *p, Config: config, BootID: bootID})
}

// decode returns the pod and the boot that it lived in.
func decode(r record.Record) (*Pod, string, error) {
	var v persisted
	if err := json.Unmarshal(r.Payload, &v); err != nil {
		return nil, "", err
	}
	v.Pod.Config = &runtimeapi.PodSandboxConfig{}
	if err := proto.Unmarshal(v.Config, v.Pod.Config); err != nil {
		return nil, "", fmt.Errorf("config: %w", err)
	}
	if v.ID != r.ID || v.Pod.Config.GetMetadata() == nil || v.State == "" {
		return nil, "", fmt.Errorf("is of pod %q, state %q", v.ID, v.State)
	}
	return &v.Pod, v.BootID, nil
}

// Key reserves a pod's name: one pod per name, namespace, uid and attempt.
func Key(c *runtimeapi.PodSandboxConfig) string {
	m := c.GetMetadata()
	return strings.Join([]string{m.GetName(), m.GetNamespace(), m.GetUid(), strconv.FormatUint(uint64(m.GetAttempt()), 10)}, "\x00")
}

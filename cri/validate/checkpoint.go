package validate

import runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

// checkpoint judges the requests that write or read archives on the node. Which options
// there are is for the agent to say.
func (c *checker) checkpoint(req any) {
	switch r := req.(type) {
	case *runtimeapi.CheckpointContainerRequest:
		c.absolute("location", r.GetLocation())
		c.atLeast("timeout", r.GetTimeout(), 0)
	case *runtimeapi.CheckpointPodRequest:
		c.absolute("output_path", r.GetOutputPath())
		for i, id := range r.GetContainerIds() {
			c.id(at("container_ids", i), id)
		}
		c.options("options", r.GetOptions())
	case *runtimeapi.RestorePodRequest:
		c.absolute("checkpoint_path", r.GetCheckpointPath())
		c.sandbox("config", r.GetConfig())
		c.text("runtime_handler", r.GetRuntimeHandler(), maxName)
		c.options("options", r.GetOptions())
		for i, cfg := range r.GetContainerConfigs() {
			c.container(at("container_configs", i), cfg)
		}
	}
}

func (c *checker) options(f string, m map[string]string) {
	for k, v := range m {
		c.word(f, k)
		c.text(key(f, k), v, maxLabelValue)
	}
}

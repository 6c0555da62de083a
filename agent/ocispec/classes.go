package ocispec

// class is a kind of class that annotations ask for, in the spelling that containerd, CRI-O
// and their policies know.
type class struct{ what, container, pod string }

var classes = []class{
	{"block I/O", "io.kubernetes.cri.blockio-class", "blockio.resources.beta.kubernetes.io/"},
	{"RDT", "io.kubernetes.cri.rdt-class", "rdt.resources.beta.kubernetes.io/"},
}

// classes refuses block I/O and RDT classes. What a class means is an operator's configuration,
// which this node has none of; running the container without would give it other shares of disk or
// cache than were asked for. containerd and CRI-O refuse them likewise where they are not configured.
func (b *builder) classes() error {
	for _, c := range classes {
		if field, name := c.of(b.in); name != "" {
			return invalid(field, "%s class %q: no classes are configured on this node", c.what, name)
		}
	}
	return nil
}

// of finds the class that applies: the container's own annotation, the pod's for this
// container, the pod's for all. An empty one asks for none.
func (c class) of(in Input) (field, name string) {
	if v, ok := in.Config.GetAnnotations()[c.container]; ok {
		return "annotations[\"" + c.container + "\"]", v
	}
	for _, key := range []string{c.pod + "container." + in.Config.GetMetadata().GetName(), c.pod + "pod"} {
		if v, ok := in.Pod.GetAnnotations()[key]; ok {
			return "sandbox_config.annotations[\"" + key + "\"]", v
		}
	}
	return "", ""
}

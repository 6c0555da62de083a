package ocispec

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (b *builder) process() error {
	args, err := b.args()
	if err != nil {
		return err
	}
	cwd, err := b.cwd()
	if err != nil {
		return err
	}
	env, err := b.env()
	if err != nil {
		return err
	}
	p := b.spec.Process
	p.Args, p.Cwd, p.Env, p.Terminal = args, cwd, env, b.in.Config.GetTty()
	return nil
}

// args follows the rule of the Kubernetes API: a command replaces the image's entrypoint
// and its cmd; args alone replace the cmd only.
func (b *builder) args() ([]string, error) {
	command, args := b.in.Config.GetCommand(), b.in.Config.GetArgs()
	if len(command) == 0 {
		command = b.image.Entrypoint
		if len(args) == 0 {
			args = b.image.Cmd
		}
	}
	all := slices.Concat(command, args)
	if len(all) == 0 {
		return nil, invalid("command", "neither the request nor the image names one")
	}
	for i, a := range all {
		if strings.ContainsRune(a, 0) {
			return nil, invalid("command", "argument %d contains a NUL byte", i)
		}
	}
	return all, nil
}

func (b *builder) cwd() (string, error) {
	field, cwd := "working_dir", b.in.Config.GetWorkingDir()
	if cwd == "" {
		field, cwd = "image WORKDIR", b.image.WorkingDir
		if cwd == "" {
			return "/", nil
		}
		cwd = path.Join("/", cwd)
	}
	if !path.IsAbs(cwd) {
		return "", invalid(field, "%q is not absolute", cwd)
	}
	if strings.ContainsRune(cwd, 0) {
		return "", invalid(field, "contains a NUL byte")
	}
	return cwd, nil
}

// env is ordered: defaults, the image's, the request's; a later value takes the place of an
// earlier one of the same name.
func (b *builder) env() ([]string, error) {
	e := newEnvironment(defaultPath)
	if b.in.Config.GetTty() {
		e.set("TERM", "xterm")
	}
	if h := b.in.Pod.GetHostname(); h != "" {
		e.set("HOSTNAME", h)
	}
	for _, kv := range b.image.Env {
		// A bare name asks for the builder's value, of which there is none. Nor is "=x" or what
		// holds NUL a variable that a process could have; such images run elsewhere.
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.ContainsRune(kv, 0) {
			continue
		}
		e.set(name, value)
	}
	for i, kv := range b.in.Config.GetEnvs() {
		name, value := kv.GetKey(), string(kv.GetValue())
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, invalid("envs", "[%d]: %q is no name of a variable", i, name)
		}
		if strings.ContainsRune(value, 0) {
			return nil, invalid("envs", "%s contains a NUL byte", name)
		}
		e.set(name, value)
	}
	// runc looks HOME up where it is missing or empty; software relies on it.
	if e.get("HOME") == "" {
		e.set("HOME", b.home)
	}
	if home := e.get("HOME"); hasControl(home) {
		return nil, invalid("envs", "HOME %q contains control bytes", home)
	}
	return e.list, nil
}

// environment is an ordered list of NAME=value in constant time a name: an image may
// bring any number of them.
type environment struct {
	list  []string
	index map[string]int
}

func newEnvironment(list ...string) *environment {
	e := &environment{index: make(map[string]int)}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		e.set(name, value)
	}
	return e
}

func (e *environment) set(name, value string) {
	kv := name + "=" + value
	if i, ok := e.index[name]; ok {
		e.list[i] = kv
		return
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, kv)
}

func (e *environment) get(name string) string {
	i, ok := e.index[name]
	if !ok {
		return ""
	}
	return e.list[i][len(name)+1:]
}

// Exec derives the process of an exec from the container's spec: its user, capabilities,
// environment and working directory with another command. The result shares nothing with s.
func Exec(s *specs.Spec, cmd []string, tty bool) *specs.Process {
	p := *s.Process
	p.Args, p.Terminal, p.ConsoleSize, p.CommandLine = slices.Clone(cmd), tty, nil, ""
	p.Env = slices.Clone(p.Env)
	if tty && !slices.ContainsFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, "TERM=") }) {
		p.Env = append(p.Env, "TERM=xterm")
	}
	p.User.AdditionalGids = slices.Clone(p.User.AdditionalGids)
	p.Rlimits = slices.Clone(p.Rlimits)
	if c := p.Capabilities; c != nil {
		p.Capabilities = &specs.LinuxCapabilities{
			Bounding: slices.Clone(c.Bounding), Effective: slices.Clone(c.Effective),
			Permitted: slices.Clone(c.Permitted), Inheritable: slices.Clone(c.Inheritable),
			Ambient: slices.Clone(c.Ambient),
		}
	}
	if p.OOMScoreAdj != nil {
		adj := *p.OOMScoreAdj
		p.OOMScoreAdj = &adj
	}
	return &p
}

// annotations are what hooks and plugins of the field look for. Nothing of the request's
// own annotations is here and nothing of the image's labels: none of them may act
// (CVE-2024-3154, CVE-2026-53488).
func annotations(in Input) map[string]string {
	const prefix = "io.kubernetes.cri."
	m := in.Pod.GetMetadata()
	a := map[string]string{
		"container-type":    "container",
		"sandbox-id":        in.PodID,
		"sandbox-name":      m.GetName(),
		"sandbox-namespace": m.GetNamespace(),
		"sandbox-uid":       m.GetUid(),
		"sandbox-attempt":   strconv.FormatUint(uint64(m.GetAttempt()), 10),
		"container-name":    in.Config.GetMetadata().GetName(),
		"image-name":        imageName(in),
	}
	out := make(map[string]string, len(a))
	for k, v := range maps.All(a) {
		if v != "" {
			out[prefix+k] = v
		}
	}
	return out
}

func imageName(in Input) string {
	if n := in.Config.GetImage().GetUserSpecifiedImage(); n != "" {
		return n
	}
	return in.Config.GetImage().GetImage()
}

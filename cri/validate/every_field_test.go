package validate

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// spoil is one way to make one value of a request bad.
type spoil struct {
	kind  string // "NUL", "newline", "overlong", "..", "negative", "enum", "present"
	path  string // as Error.Field spells it
	apply func()
}

// Every field of every request, one at a time, made bad in every way that its type knows:
// the fault must name it. What is allowed all the same is listed with the reason.
func TestEveryFieldSpoilt(t *testing.T) {
	for _, req := range fullRequests() {
		name := string(req.ProtoReflect().Descriptor().Name())
		if err := Request(req); err != nil {
			t.Errorf("%s as it is: %v", name, err)
			continue
		}
		// Spoilt copies are found by their number, so that each starts from a whole request.
		for i := range spoils(proto.Clone(req).ProtoReflect(), "") {
			bad := proto.Clone(req)
			s := spoils(bad.ProtoReflect(), "")[i]
			if allowed(s) {
				continue
			}
			s.apply()
			var fault *Error
			switch err := Request(bad); {
			case !errors.As(err, &fault) || !errors.Is(err, lifecycle.ErrInvalid):
				t.Errorf("%s: %s with %s: got %v", name, s.path, s.kind, err)
			case !names(fault.Field, s.path):
				t.Errorf("%s: %s with %s: the fault is of %s (%s)", name, s.path, s.kind, fault.Field, fault.Reason)
			case strings.ContainsAny(fault.Error(), "\x00\n") || len(fault.Error()) > 10<<10:
				t.Errorf("%s: %s with %s: the fault itself is spoilt: %.200q", name, s.path, s.kind, fault.Error())
			}
		}
	}
}

// names: the fault is the value's own, or that of the list or map that holds it.
func names(field, path string) bool {
	return field == path || strings.HasPrefix(path, field+"[") || strings.HasPrefix(field, path)
}

// allowances are values that pass: by what they are, and where.
var allowances = []struct{ kind, path, why string }{
	{"newline", `^(command|args|cmd)\[`, "an argument of execve(2)"},
	{"newline", `\.(command|args)\[`, "an argument of execve(2)"},
	{"newline", `\.envs\[\d+\]\.(key|value)$`, "environ(7)"},
	{"newline", `nnotations\["`, "annotations hold whole documents"},
	{"newline", `(labels|label_selector)\["`, "only compared and given back"},
	{"newline", `\.(container_path|host_path|working_dir)$`, "a path of the node or the container may hold one"},
	{"newline", `\.(masked_paths|readonly_paths)\[`, "a path of the container may hold one"},
	{"..", `\.(container_path|host_path|working_dir)$`, "a mount's paths are resolved: the container's inside its root"},
	{"..", `\.(masked_paths|readonly_paths)\[`, "resolved inside the container's root"},
	{"..", `^cmd|\.(command|args)\[|\.envs\[`, "an argument"},
	{"..", `nnotations\["|(labels|label_selector)\["`, "only given back"},
	{"..", `^options\["`, "no path"},
	{"..", `(username|password|auth|server_address|identity_token|registry_token)$`, "no path"},
	{"..", `image\.image$|user_specified_image$|image_ref$|runtime_handler$`, "a reference never becomes a path: digests do"},
	{"..", `selinux_options\.|run_as_username$|filter\.|(searches|options)\[|CDI_devices`, "no path"},
	{"..", `seccomp\.localhost_ref$`, "the kubelet's path on the node, to a file that must parse"},
	{"..", `apparmor\.localhost_ref$|unified\[|sysctls\[|^version$`, "no path"},
	{"..", `(apparmor_profile|seccomp_profile_path)$`, "as localhost_ref"},
	{"..", `^options\[`, "no path"},
	{"overlong", `^version$`, "not looked at"}, {"NUL", `^version$`, "not looked at"}, {"newline", `^version$`, "not looked at"},
	{"negative", `cpu_quota$|memory_limit_in_bytes$|memory_swap_limit_in_bytes$`, "-1 is no limit; below is tested apart"},
	{"negative", `oom_score_adj$`, "down to -1000; below is tested apart"},
}

func allowed(s spoil) bool {
	for _, a := range allowances {
		if a.kind == s.kind && pattern(a.path).MatchString(s.path) {
			return true
		}
	}
	return false
}

var patterns = map[string]*regexp.Regexp{}

func pattern(s string) *regexp.Regexp {
	if patterns[s] == nil {
		patterns[s] = regexp.MustCompile(s)
	}
	return patterns[s]
}

// spoils lists what can be done to the fields that m has set.
func spoils(m protoreflect.Message, prefix string) (all []spoil) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		path := prefix + string(f.Name())
		switch {
		case !m.Has(f):
		case f.IsMap():
			all = append(all, spoilMap(m.Mutable(f).Map(), path)...)
		case f.IsList():
			l := m.Mutable(f).List()
			for j := range l.Len() {
				set := func(v protoreflect.Value) { l.Set(j, v) }
				all = append(all, spoilValue(f, l.Get(j), set, fmt.Sprintf("%s[%d]", path, j))...)
			}
		default:
			set := func(v protoreflect.Value) { m.Set(f, v) }
			all = append(all, spoilValue(f, m.Get(f), set, path)...)
		}
	}
	return all
}

func spoilMap(m protoreflect.Map, path string) (all []spoil) {
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		at := fmt.Sprintf("%s[%q]", path, k.String())
		for kind, bad := range badStrings(v.String()) {
			all = append(all, spoil{kind, at, func() { m.Set(k, protoreflect.ValueOfString(bad)) }})
		}
		return true
	})
	for kind, bad := range badStrings("k") {
		if kind == ".." {
			continue // a key is judged by the table of where it goes
		}
		all = append(all, spoil{kind, path, func() { m.Set(protoreflect.ValueOfString(bad).MapKey(), protoreflect.ValueOfString("1")) }})
	}
	return sorted(all)
}

var overlong = strings.Repeat("a", 2<<20)

func badStrings(s string) map[string]string {
	return map[string]string{"NUL": s + "\x00", "newline": s + "\nx", "overlong": overlong, "..": s + "/../../../etc"}
}

func spoilValue(f protoreflect.FieldDescriptor, v protoreflect.Value, set func(protoreflect.Value), path string) (all []spoil) {
	add := func(kind string, bad protoreflect.Value) {
		all = append(all, spoil{kind, path, func() { set(bad) }})
	}
	switch f.Kind() {
	case protoreflect.MessageKind:
		if strings.HasSuffix(string(f.Message().Name()), "Int64Value") && f.Message().Name() != "UInt64Value" {
			add("negative", protoreflect.ValueOfMessage((&runtimeapi.Int64Value{Value: -5}).ProtoReflect()))
			add("negative", protoreflect.ValueOfMessage((&runtimeapi.Int64Value{Value: math.MaxInt64}).ProtoReflect()))
			return all
		}
		return spoils(v.Message(), path+".")
	case protoreflect.StringKind:
		for kind, bad := range badStrings(v.String()) {
			add(kind, protoreflect.ValueOfString(bad))
		}
	case protoreflect.BytesKind:
		for kind, bad := range badStrings(string(v.Bytes())) {
			add(kind, protoreflect.ValueOfBytes([]byte(bad)))
		}
	case protoreflect.EnumKind:
		add("enum", protoreflect.ValueOfEnum(9999))
		add("enum", protoreflect.ValueOfEnum(-1))
	case protoreflect.Int64Kind:
		add("negative", protoreflect.ValueOfInt64(-1))
		add("very negative", protoreflect.ValueOfInt64(math.MinInt64))
	case protoreflect.Int32Kind:
		add("negative", protoreflect.ValueOfInt32(-1))
		add("very negative", protoreflect.ValueOfInt32(math.MinInt32))
	}
	return sorted(all)
}

// What is below the special values, and what does not apply to this machine, is a fault too.
func TestRefusedFields(t *testing.T) {
	update := func(edit func(*runtimeapi.LinuxContainerResources)) *runtimeapi.UpdateContainerResourcesRequest {
		r := fullResources()
		edit(r)
		return &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "a", Linux: r}
	}
	type res = runtimeapi.LinuxContainerResources
	run := func(edit func(*runtimeapi.PodSandboxConfig)) *runtimeapi.RunPodSandboxRequest {
		c := fullPod()
		edit(c)
		return &runtimeapi.RunPodSandboxRequest{Config: c}
	}
	windows := fullContainer()
	windows.Windows = &runtimeapi.WindowsContainerConfig{}
	old := fullContainer()
	old.Linux.SecurityContext.ApparmorProfile = "docker-default" //lint:ignore SA1019 the deprecated field's own test
	for _, tc := range []struct {
		req   proto.Message
		field string
	}{
		{update(func(r *res) { r.CpuQuota = -2 }), "linux.cpu_quota"},
		{update(func(r *res) { r.MemoryLimitInBytes = -2 }), "linux.memory_limit_in_bytes"},
		{update(func(r *res) { r.MemorySwapLimitInBytes = -2 }), "linux.memory_swap_limit_in_bytes"},
		{update(func(r *res) { r.OomScoreAdj = -1001 }), "linux.oom_score_adj"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Windows = &runtimeapi.WindowsPodSandboxConfig{} }), "config.windows"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Linux.Resources.OomScoreAdj = 1 }), "config.linux.resources.oom_score_adj"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Linux.Overhead.OomScoreAdj = 1 }), "config.linux.overhead.oom_score_adj"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Linux.Overhead.CpusetCpus = "0" }), "config.linux.overhead.cpuset_cpus"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Linux.Overhead.CpusetMems = "0" }), "config.linux.overhead.cpuset_mems"},
		{run(func(c *runtimeapi.PodSandboxConfig) { c.Linux.Overhead.Unified = map[string]string{"memory.high": "1"} }), "config.linux.overhead.unified"},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "a", Config: windows}, "config.windows"},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "a", Config: old}, "config.linux.security_context.apparmor_profile"},
		{&runtimeapi.UpdateContainerResourcesRequest{ContainerId: "a", Windows: &runtimeapi.WindowsContainerResources{}}, "windows"},
		{&runtimeapi.CheckpointContainerRequest{ContainerId: "a", Location: "c.tar"}, "location"},
		{&runtimeapi.RestorePodRequest{CheckpointPath: "/c.tar"}, "config"},
		{&runtimeapi.PullImageRequest{Image: fullImage("a"), SandboxConfig: &runtimeapi.PodSandboxConfig{Hostname: "a b"}}, "sandbox_config.hostname"},
		{&runtimeapi.PullImageRequest{Image: fullImage("a"), SandboxConfig: &runtimeapi.PodSandboxConfig{}}, ""},
	} {
		check(t, tc.field, tc.req, tc.field)
	}
}

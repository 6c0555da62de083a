// Package house holds the repository to the plan of its packages: which may import which and
// why not, that each says its job, and the sizes that keep it readable at a sitting.
package house

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipway-cri/slipway/"

// arrow is an import that must not be: From and To are path prefixes below the module, or, with a
// dot in the first element, of other modules.
type arrow struct {
	from, to string
	except   []string // importing packages that may
	why      string
}

var forbidden = []arrow{
	{"oci", "agent", nil, "oci builds alone and knows nothing of pods"},
	{"oci", "cri", nil, "imports go down only"},
	{"oci", "cmd", nil, "imports go down only"},
	{"agent", "cri", nil, "imports go down only: the face is made by who serves it"},
	{"agent", "cmd", nil, "imports go down only"},
	{"cri", "cmd", nil, "imports go down only"},
	{"cri", "oci", nil, "the face speaks of pods and containers, never of namespaces and mounts"},
	{"cmd", "oci", []string{"cmd/slipway-init", "cmd/slipway-oci"}, "the agent's commands reach oci through agent"},
	{"agent", "oci", []string{"agent/runtime", "agent/monitor", "agent/check"}, "one door to the kernel's containers"},
	{"agent", "agent/monitor", []string{"agent/runtime", "agent/monitor"}, "one door to the monitor"},
	{"agent/lifecycle", "agent", nil, "states and error kinds are below everything"},
	{"agent/record", "agent", nil, "a record knows nothing of what is inside"},
	{"agent/ocispec", "agent", []string{}, "pure: only lifecycle's error kinds"},
	{"agent/images", "agent/containers", nil, "images are below containers"},
	{"agent/network", "agent/pods", nil, "the network is below pods"},
	{"agent/pods", "agent/containers", nil, "containers know pods; pods reach them through an interface"},
	{"cmd/slipway-init", "encoding/json", nil, "init's time is every container's start time"},
	{"oci", "google.golang.org/grpc", nil, "oci is a library without a server"},
	{"oci", "k8s.io", nil, "oci knows nothing of CRI"},
	{"oci", "github.com/sirupsen/logrus", nil, "a library returns errors, it does not log"},
}

// always may be imported from everywhere: what everything below agent speaks, and what only tests use.
var always = []string{"agent/lifecycle", "agent/layout", "oci/kerneltest"}

// closures are what a binary must not link, directly or not: its size and start-up time are the budget.
var closures = map[string][]string{
	"cmd/slipway-init":    {"fmt", "encoding/json", "net", "github.com/sirupsen/logrus", "google.golang.org/grpc", "github.com/opencontainers/runtime-spec/specs-go"},
	"cmd/slipway-monitor": {"encoding/json", "net/http", "github.com/sirupsen/logrus", "google.golang.org/grpc", "github.com/opencontainers/cgroups", "github.com/opencontainers/runtime-spec/specs-go"},
}

type pkg struct {
	ImportPath, Dir, Name, Doc string
	Imports, Deps, GoFiles     []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Doc,Imports,Deps,GoFiles", module+"...")
	cmd.Dir, cmd.Stderr = "../..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// below says whether path is prefix or inside it.
func below(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func (a arrow) broken(from, imported string) bool {
	to, inside := strings.CutPrefix(imported, module)
	if first, _, _ := strings.Cut(a.to, "/"); strings.Contains(first, ".") || !inside {
		return below(from, a.from) && below(imported, a.to) && !allowed(from, a.except)
	}
	if below(a.from, a.to) && below(to, a.from) {
		return false // out of a package into its own parts, where the arrow forbids all around it
	}
	return below(from, a.from) && below(to, a.to) && !slices.Contains(always, to) && !allowed(from, a.except)
}

func allowed(from string, except []string) bool {
	return slices.ContainsFunc(except, func(e string) bool { return below(from, e) })
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			for _, a := range forbidden {
				if a.broken(from, imported) {
					t.Errorf("%s imports %s: %s", from, imported, a.why)
				}
			}
		}
		for _, dep := range closures[from] {
			if slices.Contains(p.Deps, dep) {
				t.Errorf("%s links %s", from, dep)
			}
		}
	}
}

// TestArrowsBite checks the checker: each kind of forbidden import is seen.
func TestArrowsBite(t *testing.T) {
	for _, c := range []struct {
		from, imported string
		want           bool
	}{
		{"oci/plan", module + "agent/pods", true},
		{"cri/server", module + "oci/spec", true},
		{"agent/pods", module + "oci/plan", true},
		{"agent/runtime", module + "oci/plan", false},
		{"agent/pods", module + "agent/monitor", true},
		{"agent/record", module + "agent/pods", true},
		{"oci/plan", module + "oci/initconf", false},
		{"oci/plan", "k8s.io/cri-api/pkg/apis/runtime/v1", true},
		{"agent/ocispec", module + "agent/lifecycle", false},
	} {
		got := slices.ContainsFunc(forbidden, func(a arrow) bool { return a.broken(c.from, c.imported) })
		if got != c.want {
			t.Errorf("%s → %s: forbidden %v, want %v", c.from, c.imported, got, c.want)
		}
	}
}

func TestEveryPackageSaysItsJob(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		for _, junk := range []string{"util", "utils", "common", "manager", "helpers", "misc"} {
			if p.Name == junk {
				t.Errorf("%s: a package named %s is a junk drawer", name, junk)
			}
		}
	}
}

// maxFunction is the longest function in lines; tests included.
const maxFunction = 100

func TestFunctionsFitAPage(t *testing.T) {
	set := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", path, f.Name.Name, n, maxFunction)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestArchitectureNamesEveryPackage keeps the table of docs/architecture.md complete.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		_, short, _ := strings.Cut(name, "/")
		if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+short+"`") {
			t.Errorf("docs/architecture.md does not say what %s is for", name)
		}
	}
}

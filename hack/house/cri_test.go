package house

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cri/server"
)

const criPage = "../../docs/cri.md"

// row is one line of a table of the page: first column, second, the rest.
type row struct{ name, state, note string }

// criTables are the page's tables by the heading above them.
func criTables(t *testing.T) map[string][]row {
	t.Helper()
	data, err := os.ReadFile(criPage)
	if err != nil {
		t.Fatal(err)
	}
	tables, heading := map[string][]row{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "#"); ok {
			heading = strings.TrimSpace(strings.TrimLeft(h, "#"))
			tables[heading] = nil
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.HasPrefix(line, "| ---") {
			continue
		}
		note := strings.TrimSpace(strings.Join(cells[3:len(cells)-1], "|"))
		tables[heading] = append(tables[heading], row{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), note})
	}
	return tables
}

func criServices() []protoreflect.ServiceDescriptor {
	s := runtimeapi.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	return []protoreflect.ServiceDescriptor{s.Get(0), s.Get(1)}
}

// messages are all that the services' calls can hold, without those of Windows.
func messages() map[string]protoreflect.MessageDescriptor {
	all := map[string]protoreflect.MessageDescriptor{}
	var add func(d protoreflect.MessageDescriptor)
	add = func(d protoreflect.MessageDescriptor) {
		name := string(d.Name())
		if all[name] != nil || d.IsMapEntry() || strings.HasPrefix(name, "Windows") {
			return
		}
		all[name] = d
		for i := range d.Fields().Len() {
			if m := d.Fields().Get(i).Message(); m != nil {
				add(m)
			}
		}
	}
	for _, s := range criServices() {
		for i := range s.Methods().Len() {
			add(s.Methods().Get(i).Input())
			add(s.Methods().Get(i).Output())
		}
	}
	return all
}

// Every call and every field of every message is in docs/cri.md, and nothing else is.
func TestEveryFieldIsInTheTable(t *testing.T) {
	tables := criTables(t)
	for _, s := range criServices() {
		var said []string
		for _, r := range tables[string(s.Name())] {
			said = append(said, strings.Split(r.name, ", ")...)
		}
		for i := range s.Methods().Len() {
			if name := string(s.Methods().Get(i).Name()); !slices.Contains(said, name) {
				t.Errorf("%s: no row for the call %s", s.Name(), name)
			}
		}
	}
	for name, d := range messages() {
		rows, ok := tables[name]
		if !ok {
			t.Errorf("no heading for the message %s", name)
			continue
		}
		for i := range d.Fields().Len() {
			field := string(d.Fields().Get(i).Name())
			if n := countRows(rows, field); n != 1 {
				t.Errorf("%s.%s has %d rows", name, field, n)
			}
		}
		for _, r := range rows {
			if r.name != "field" && d.Fields().ByName(protoreflect.Name(r.name)) == nil {
				t.Errorf("%s has no field %s", name, r.name)
			}
		}
	}
}

func countRows(rows []row, name string) (n int) {
	for _, r := range rows {
		if r.name == name {
			n++
		}
	}
	return n
}

var testName = regexp.MustCompile("`([a-z0-9]+)\\.(Test\\w+)`")

// What is said to be honoured, refused or filled names a test that is there; what is not, a reason.
func TestTableNamesItsTests(t *testing.T) {
	have := testFunctions(t)
	tables := criTables(t)
	for name := range messages() {
		for _, r := range tables[name] {
			cited := testName.FindAllStringSubmatch(r.note, -1)
			switch r.state {
			case "state":
				continue
			case "honoured", "refused", "filled":
				if len(cited) == 0 {
					t.Errorf("%s.%s: %s, but by no test's word", name, r.name, r.state)
				}
			case "not applicable", "empty":
				if r.note == "" {
					t.Errorf("%s.%s: %s without a reason", name, r.name, r.state)
				}
			default:
				t.Errorf("%s.%s: unknown state %q", name, r.name, r.state)
			}
			for _, c := range cited {
				if !have[c[1]+"."+c[2]] {
					t.Errorf("%s.%s: there is no test %s.%s", name, r.name, c[1], c[2])
				}
			}
		}
	}
}

// testFunctions are the module's tests as "directory.TestName".
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	have, declared := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range declared.FindAllSubmatch(data, -1) {
			have[path.Base(path.Dir(filepath.ToSlash(p)))+"."+string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// A call is Unimplemented in the table if and only if the server has no method of its own for it:
// those that it gets from the generated code are wrappers without a source file.
func TestTableSaysWhatIsUnimplemented(t *testing.T) {
	tables, typ := criTables(t), reflect.TypeFor[*server.Server]()
	for _, s := range criServices() {
		for _, r := range tables[string(s.Name())] {
			for name := range strings.SplitSeq(r.name, ", ") {
				m, ok := typ.MethodByName(name)
				if !ok {
					continue // the header, or an unknown name: TestEveryFieldIsInTheTable's business
				}
				pc := m.Func.Pointer()
				file, _ := runtime.FuncForPC(pc).FileLine(pc)
				if own := file != "<autogenerated>"; own == (r.state == "Unimplemented") {
					t.Errorf("%s is said to be %s; the server's own method: %v", name, r.state, own)
				}
			}
		}
	}
}

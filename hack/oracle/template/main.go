// Command template renders a corpus of small templates with Go's text/template and sprig, and prints what came out.
//
//	go run . > ../../../crates/gotemplate/tests/fixtures/template.json
//
// Every file of the folder corpus is read. A file has `rows`, a list of templates or of {name, template, data}, the
// `data` of the rows that have none of their own, and the `type` their data is decoded into: none, or `sample`. Files
// whose names start with `core_` see Go's own functions only, the others sprig's too.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

type file struct {
	Type string            `json:"type"`
	Data json.RawMessage   `json:"data"`
	Rows []json.RawMessage `json:"rows"`
}

type row struct {
	Name     string          `json:"name"`
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
}

type failure struct {
	Phase   string `json:"phase"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

type result struct {
	File     string          `json:"file"`
	Name     string          `json:"name,omitempty"`
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data,omitempty"`
	Output   *string         `json:"output,omitempty"`
	Error    *failure        `json:"error,omitempty"`
}

func main() {
	paths, err := filepath.Glob("corpus/*.*")
	check(err)
	sort.Strings(paths)
	seen := map[string]bool{}
	var files, lines []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		var f file
		check(wrap(path, yaml.UnmarshalStrict(text, &f)))
		base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		line, err := marshal(map[string]any{"file": base, "type": f.Type, "data": f.Data})
		check(err)
		files = append(files, line)
		for _, raw := range f.Rows {
			var r row
			if raw[0] == '"' {
				check(json.Unmarshal(raw, &r.Template))
			} else {
				check(wrap(path, json.Unmarshal(raw, &r)))
			}
			id := base + ": " + r.Name
			if r.Name == "" {
				id += r.Template
			}
			if seen[id] {
				check(fmt.Errorf("two rows are named %q", id))
			}
			seen[id] = true
			line, err := marshal(run(base, r, f))
			check(err)
			lines = append(lines, line)
		}
	}
	// One row a line, so that a change is seen as one.
	fmt.Printf("{\"files\": [\n%s\n],\n\"rows\": [\n%s\n]}\n", strings.Join(files, ",\n"), strings.Join(lines, ",\n"))
}

func run(base string, r row, f file) result {
	res := result{File: base, Name: r.Name, Template: r.Template, Data: r.Data}
	raw := r.Data
	if raw == nil {
		raw = f.Data
	}
	data, err := decode(raw, f.Type)
	check(wrap(r.Template, err))
	t := template.New("t")
	if !strings.HasPrefix(base, "core_") {
		t = t.Funcs(sprig.TxtFuncMap())
	}
	t, err = t.Parse(r.Template)
	if err != nil {
		res.Error = parseFailure(err.Error())
		return res
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		res.Error = execFailure(err.Error())
		return res
	}
	text := out.String()
	res.Output = &text
	return res
}

func decode(data json.RawMessage, kind string) (any, error) {
	if kind == "sample" {
		s := &Sample{}
		if len(data) > 0 {
			if err := json.Unmarshal(data, s); err != nil {
				return nil, err
			}
		}
		return s, nil
	}
	if len(data) == 0 {
		return nil, nil
	}
	// As the injector reads its values: sigs.k8s.io/yaml into map[string]any.
	var v any
	err := yaml.Unmarshal(data, &v)
	return v, err
}

var (
	parsePrefix = regexp.MustCompile(`(?s)^template: [^:]*:(\d+): (.*)$`)
	execPrefix  = regexp.MustCompile(`(?s)^template: [^:]*:(\d+):\d+: executing ".*?" at <.*?>: (.*)$`)
)

func parseFailure(text string) *failure {
	if m := parsePrefix.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &failure{"parse", line, m[2]}
	}
	return &failure{"parse", 0, text}
}

func execFailure(text string) *failure {
	if m := execPrefix.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &failure{"exec", line, m[2]}
	}
	return &failure{"exec", 0, text}
}

func marshal(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func wrap(where string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", where, err)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

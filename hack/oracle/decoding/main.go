// Command decoding prints what sigs.k8s.io/yaml makes of manifests when it decodes them into Kubernetes' types, which is
// how Istio reads them: every field of every type that can be reached from a workload, with every kind of value; and
// whole objects.
//
//	go run . > ../../../crates/injector/tests/fixtures/decoding.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	openshiftv1 "github.com/openshift/api/apps/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var roots = map[string]reflect.Type{
	"Pod":                   reflect.TypeFor[corev1.Pod](),
	"Deployment":            reflect.TypeFor[appsv1.Deployment](),
	"DaemonSet":             reflect.TypeFor[appsv1.DaemonSet](),
	"ReplicaSet":            reflect.TypeFor[appsv1.ReplicaSet](),
	"StatefulSet":           reflect.TypeFor[appsv1.StatefulSet](),
	"ReplicationController": reflect.TypeFor[corev1.ReplicationController](),
	"Job":                   reflect.TypeFor[batchv1.Job](),
	"CronJob":               reflect.TypeFor[batchv1.CronJob](),
	"DeploymentConfig":      reflect.TypeFor[openshiftv1.DeploymentConfig](),
}

// values are written in the place of every field.
var values = []string{
	"true", "yes", "No", "off", "~", "", "null", "5", "-3", "0", "017", "0o17", "0x1F", "0b11", "1_000", "1e3", "1e6", "1000000.0", "0.10", "1.0", "1.5",
	"3000000000", "-3000000000", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e21", "123456789.125", "16777217.0",
	"text", `""`, `"true"`, `"5"`, `"500m"`, "500m", "1Gi", "1e3Mi", `"1e3"`, `"1.5Gi"`, `" 2 "`, "2cores", "512MB", `"1E"`, `"+"`, `"."`, `"5."`, `".5"`, `"-.5k"`, `"1e"`, `"1e+3"`, `"E"`,
	"2001-01-01", "2001-01-01T10:11:12Z", `"2001-02-29T10:11:12Z"`, `"2001-01-01T1:11:12.5+02:00"`, `"2001-01-01T10:11:60Z"`, "12:30:45",
	"[]", "{}", "[1]", "[a]", "[~]", "[true, 0.10]", "[[a]]", "[{a: 1}]", "{a: 1}", "{a: b}", "{a: ~}", "{a: {b: 1}}", "{a: [1]}", "{1: 1, true: yes}", "!!str 5", "!!binary aGk=", "'017'",
}

// Path is a field and the results of the values there.
type Path struct {
	// Path leads to the field; "0" is the item of a list, "k" the entry of a map.
	Path string `json:"path"`
	// Answers is the index of its answers.
	Answers int `json:"answers"`
}

// Whole is an object and its result.
type Whole struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	// JSON is the object as Go writes it; absent where it is refused.
	JSON string `json:"json,omitempty"`
}

// Fixture is the whole file.
type Fixture struct {
	Source string   `json:"source"`
	Values []string `json:"values"`
	// Answers has, for each value, "" where it is refused, "-" where nothing is left of it, or the JSON that is there.
	Answers [][]string        `json:"answers"`
	Paths   map[string][]Path `json:"paths"`
	Wholes  []Whole           `json:"wholes"`
}

func main() {
	fixture := Fixture{Source: "sigs.k8s.io/yaml v1.6.0, k8s.io/api v0.37.2", Values: values, Paths: map[string][]Path{}}
	known := map[string]int{}
	seen := map[string]bool{}
	kinds := make([]string, 0, len(roots))
	for kind := range roots {
		kinds = append(kinds, kind)
	}
	// The pod first, so that its types are met by their shortest paths.
	slices.SortFunc(kinds, func(a, b string) int {
		if (a == "Pod") != (b == "Pod") {
			if a == "Pod" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, kind := range kinds {
		walk(roots[kind], nil, seen, func(path []string) {
			answers := make([]string, len(values))
			for i, value := range values {
				answers[i] = ask(kind, path, value)
			}
			key := strings.Join(answers, "\x00")
			if _, ok := known[key]; !ok {
				known[key] = len(fixture.Answers)
				fixture.Answers = append(fixture.Answers, answers)
			}
			fixture.Paths[kind] = append(fixture.Paths[kind], Path{strings.Join(path, " "), known[key]})
		})
	}
	for _, whole := range wholes() {
		object := reflect.New(roots[whole.Kind]).Interface()
		if err := yaml.Unmarshal([]byte(whole.Text), object); err == nil {
			out, err := json.Marshal(object)
			if err != nil {
				panic(err)
			}
			whole.JSON = string(out)
		}
		fixture.Wholes = append(fixture.Wholes, whole)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(fixture); err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		panic(err)
	}
}

// walk visits every field of every struct once, and the items of lists and maps.
func walk(t reflect.Type, path []string, seen map[string]bool, visit func(path []string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(path) > 0 {
		visit(path)
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			walk(t.Elem(), append(slices.Clone(path), "0"), seen, visit)
		}
	case reflect.Map:
		walk(t.Elem(), append(slices.Clone(path), "k"), seen, visit)
	case reflect.Struct:
		// A type is another one where nothing becomes a string any more: it is walked twice.
		key := fmt.Sprint(t.PkgPath(), ".", t.Name())
		if seen[key] {
			return
		}
		seen[key] = true
		fields(t, path, seen, visit)
	}
}

func fields(t reflect.Type, path []string, seen map[string]bool, visit func(path []string)) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case !field.IsExported() || name == "-":
		case field.Anonymous && name == "":
			fields(field.Type, path, seen, visit)
		case path == nil && (name == "kind" || name == "apiVersion"):
		default:
			walk(field.Type, append(slices.Clone(path), name), seen, visit)
		}
	}
}

// ask decodes an object with a value in the place of a field.
func ask(kind string, path []string, value string) string {
	text := value
	for _, step := range slices.Backward(path) {
		if step == "0" {
			text = "[" + text + "]"
		} else {
			text = "{" + step + ": " + text + "}"
		}
	}
	object := reflect.New(roots[kind]).Interface()
	if err := yaml.Unmarshal([]byte(text), object); err != nil {
		return ""
	}
	out, err := json.Marshal(object)
	if err != nil {
		// Go cannot write what it read.
		return "-"
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		panic(err)
	}
	for _, step := range path {
		switch at := document.(type) {
		case map[string]any:
			document = at[step]
		case []any:
			if len(at) == 0 {
				return "-"
			}
			document = at[0]
		default:
			return "-"
		}
	}
	if document == nil {
		return "-"
	}
	answer, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return string(answer)
}

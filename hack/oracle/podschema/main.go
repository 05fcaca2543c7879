// Command podschema prints how Kubernetes' Go types say that a pod merges: for every struct that can be reached
// from corev1.Pod, each field's JSON name, its Go kind, and its patchStrategy and patchMergeKey tags.
//
//	go run . > ../../../crates/strategic-merge/tests/fixtures/podschema.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"
	"runtime/debug"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Field is one JSON field of a struct.
type Field struct {
	// Name is the JSON name.
	Name string `json:"name"`
	// Kind is scalar, struct, map or list, pointers looked through.
	Kind string `json:"kind"`
	// Of is the type of a struct, or of the elements of a list or map.
	Of string `json:"of,omitempty"`
	// Elements is the kind of the elements of a list or map.
	Elements string `json:"elements,omitempty"`
	// Strategy and Key are the struct tags as they stand.
	Strategy string `json:"patchStrategy,omitempty"`
	Key      string `json:"patchMergeKey,omitempty"`
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func main() {
	types := map[string][]Field{}
	walk(reflect.TypeFor[corev1.Pod](), types)
	encoded, err := encode(map[string]any{"module": module(), "root": "v1.Pod", "types": types})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(encoded); err != nil {
		log.Fatal(err)
	}
}

// walk records t and every struct below it.
func walk(t reflect.Type, types map[string][]Field) {
	if _, seen := types[t.String()]; seen {
		return
	}
	types[t.String()] = nil
	types[t.String()] = fields(t, types)
}

// fields lists the JSON fields of t in the order of declaration, embedded structs flattened.
func fields(t reflect.Type, types map[string][]Field) []Field {
	var found []Field
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() {
			continue
		}
		if name == "" && (field.Anonymous || strings.Contains(options, "inline")) {
			found = append(found, fields(look(field.Type), types)...)
			continue
		}
		if name == "" {
			log.Fatalf("field %s of %s has no JSON name", field.Name, t)
		}
		described := Field{Name: name, Strategy: field.Tag.Get("patchStrategy"), Key: field.Tag.Get("patchMergeKey")}
		inner := look(field.Type)
		described.Kind = kind(inner)
		switch described.Kind {
		case "struct":
			described.Of = inner.String()
			walk(inner, types)
		case "list", "map":
			element := look(inner.Elem())
			described.Of, described.Elements = element.String(), kind(element)
			if described.Elements == "struct" {
				walk(element, types)
			}
		}
		found = append(found, described)
	}
	return found
}

// kind says what t is in JSON: a type with its own encoding (a quantity, a time) is a scalar.
func kind(t reflect.Type) string {
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return "scalar"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "struct"
	case reflect.Map:
		return "map"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "scalar"
		}
		return "list"
	default:
		return "scalar"
	}
}

func look(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// module names the version of the types, so that the fixture says what it was made from.
func module() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "k8s.io/api" {
			return fmt.Sprintf("%s@%s", dependency.Path, dependency.Version)
		}
	}
	return ""
}

func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", " ")
	err := encoder.Encode(v)
	return out.Bytes(), err
}

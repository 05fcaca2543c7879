// Command formats prints which JSON values an API server decodes in every field of a pod, how it writes quantities, and
// which texts it takes for a time: the answers of Kubernetes' Go types behind the decoder that API servers use.
//
//	go run . > ../../../crates/injector/tests/fixtures/formats.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// values are put into every field.
var values = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `1.5`, `1.0`, `1e3`, `0.1`,
	`2147483647`, `2147483648`, `-2147483648`, `-2147483649`,
	`9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `18446744073709551615`,
	`""`, `"1"`, `"100m"`, `"2cores"`, `"512MB"`, `"1.5Gi"`, `"1e3"`, `"<no value>"`, `"true"`, `" 1 "`, `"1\n"`,
	`"2026-01-02T03:04:05Z"`, `"2026-01-02"`, `"80%"`,
	`[]`, `["a"]`, `[1]`, `[true]`, `[null]`, `[[]]`, `[{}]`, `["1Gi"]`, `[3000000000]`,
	`{}`, `{"a":"b"}`, `{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":"1Gi"}`, `{"a":1.5}`, `{"a":[]}`, `{"a":true}`,
}

type field struct {
	// Path leads to the field: keys, and 0 for the element of a list.
	Path []any `json:"path"`
	// Takes has a 1 for each value that is decoded, a 0 for each that is not.
	Takes string `json:"takes"`
}

var marshaler = reflect.TypeFor[json.Marshaler]()

type walker struct {
	seen   map[reflect.Type]bool
	fields []field
}

// value tries a field and what is below it; a struct that was met before is not entered again.
func (w *walker) value(t reflect.Type, path []any) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(path) > 0 {
		w.fields = append(w.fields, field{slices.Clone(path), takes(path)})
	}
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		w.value(t.Elem(), append(path, 0))
	case reflect.Map:
		w.value(t.Elem(), append(path, "key"))
	case reflect.Struct:
		if w.seen[t] {
			return
		}
		w.seen[t] = true
		w.structFields(t, path)
	}
}

func (w *walker) structFields(t reflect.Type, path []any) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case f.Anonymous && name == "":
			w.structFields(f.Type, path)
		case t == reflect.TypeFor[corev1.Pod]() && name != "metadata" && name != "spec":
		default:
			w.value(f.Type, append(path, name))
		}
	}
}

func takes(path []any) string {
	var out strings.Builder
	for _, value := range values {
		text := value
		for _, step := range slices.Backward(path) {
			if key, ok := step.(string); ok {
				text = fmt.Sprintf("{%q:%s}", key, text)
			} else {
				text = "[" + text + "]"
			}
		}
		if kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &corev1.Pod{}) == nil {
			out.WriteByte('1')
		} else {
			out.WriteByte('0')
		}
	}
	return out.String()
}

// quantities are texts and how a quantity of that text is written; null if it is not one.
func quantities() [][2]any {
	texts := []string{
		"", "0", "00", "+0", "-0", ".", "+", "-", "+.", "0.", ".0", ".5", "5.", "+5", "+5.", "-.5", "01", "010Gi", "1 ", " 1", "1 Gi",
		"2cores", "512MB", "512mb", "1.2Gi", "1.5Gi", "-1.2Gi", "0.1Gi", "0.5Ki", "0.3Ki", "1023.5", "1.1Ki", "1000m", "1500m", "0.5", "1024Mi", "1100Mi",
		"1000Mi", "2048Ki", "1e3", "1E3", "1e4", "1e-3", "1e+3", "1e", "1E", "e3", "E3", "1e1.5", "100e-9", "1e-12", "1n", "0.1n", "1.1n", "999n",
		"1000n", "1u", "1µ", "1K", "1k", "1ki", "1KI", "1m", "1M", "1Mi", "1mi", "1G", "1g", "1T", "1P", "1Ei", "1Pi", "8Ei", "7Ei", "16Ei", "9.5Ei",
		"1000E", "10E", "1000000E", "12345678901234567890", "123456789012345678", "1234567890123456789", "0.123456789", "0.1234567891",
		"1,5", "1_000", "0x10", "Infinity", "NaN", "١", "1i", "1B", "1Gib", "1GiB", "Gi", "m", "--1", "+-1", "1-", "1.2.3", "1e3Mi", "<no value>", "true",
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	digits := func(most int) string {
		var out strings.Builder
		for range random.IntN(most + 1) {
			out.WriteByte(byte('0' + random.IntN(10)))
		}
		if random.IntN(4) == 0 {
			out.WriteString("000")
		}
		return out.String()
	}
	for range 1500 {
		text := pick("", "", "", "+", "-") + digits(7)
		if random.IntN(2) == 0 {
			text += "." + digits(5)
		}
		text += pick("", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "K", "e3", "E-4", "e7", "e-10", "e+2", "b", "i")
		texts = append(texts, text)
	}
	var out [][2]any
	for _, text := range texts {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			out = append(out, [2]any{text, nil})
			continue
		}
		written, err := json.Marshal(quantity)
		if err != nil {
			log.Fatal(err)
		}
		var canonical string
		if err := json.Unmarshal(written, &canonical); err != nil {
			log.Fatal(err)
		}
		out = append(out, [2]any{text, canonical})
	}
	return out
}

// times are texts and whether they are times.
func times() [][2]any {
	texts := []string{
		"", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05-23:59", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+25:00",
		"2026-01-02T03:04:05+00:60", "2026-01-02T03:04:05+00:61", "2026-01-02T03:04:05.123Z", "2026-01-02T03:04:05,123Z", "2026-01-02T03:04:05.Z",
		"2026-01-02T03:04:05.1234567890123Z", "2026-01-02T3:04:05Z", "2026-01-02T24:04:05Z", "2026-01-02T03:60:05Z", "2026-01-02T03:04:60Z",
		"2026-01-02t03:04:05z", "2026-01-02t03:04:05Z", "2026-01-02T03:04:05z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05", "2026-01-02", "2026-02-29T03:04:05Z",
		"2028-02-29T03:04:05Z", "2000-02-29T03:04:05Z", "1900-02-29T03:04:05Z", "2026-04-31T03:04:05Z", "2026-13-02T03:04:05Z", "2026-00-02T03:04:05Z",
		"2026-01-00T03:04:05Z", "2026-01-32T03:04:05Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z",
		"26-01-02T03:04:05Z", "2026-1-2T03:04:05Z", "2026-01-02T03:4:05Z", "2026-01-02T03:04:5Z", "2026-01-02T03:04:05+0100", "2026-01-02T03:04:05+01",
		"2026-01-02T03:04:05+1:00", "2026-01-02T03:04:05Z ", " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05ZZ", "2026-01-02T03:04:05 01:00", "2026-01-02T03:04:05*01:00",
		"1767323045", "Fri Jan  2 03:04:05 2026", "now", "<no value>", "2026-01-02T03:04:05.1+01:00", "2026-01-02T03:04:05−01:00", "٢٠٢٦-01-02T03:04:05Z",
		"2026-01-02T03:04:05.5", "2026-01-02T03:04Z", "2026-01-02T003:04:05Z", "2026-01-02T:04:05Z",
	}
	var out [][2]any
	for _, text := range texts {
		raw, _ := json.Marshal(text)
		out = append(out, [2]any{text, (&metav1.Time{}).UnmarshalJSON(raw) == nil})
	}
	return out
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

func main() {
	w := walker{seen: map[reflect.Type]bool{}}
	w.value(reflect.TypeFor[corev1.Pod](), nil)
	var out bytes.Buffer
	line := func(v any) string {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			log.Fatal(err)
		}
		return strings.TrimSpace(text.String())
	}
	// One line each, so that diffs are readable.
	fmt.Fprintf(&out, "{\n\"module\": %s,\n\"values\": %s,\n", line(module()), line(values))
	lists(&out, "fields", w.fields, line, ",\n")
	lists(&out, "quantities", quantities(), line, ",\n")
	lists(&out, "times", times(), line, "\n}\n")
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		log.Fatal(err)
	}
}

func lists[T any](out *bytes.Buffer, key string, items []T, line func(any) string, end string) {
	fmt.Fprintf(out, "%q: [\n", key)
	for i, item := range items {
		if i > 0 {
			out.WriteString(",\n")
		}
		out.WriteString(line(item))
	}
	out.WriteString("]" + end)
}

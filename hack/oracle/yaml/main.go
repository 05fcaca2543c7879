// Prints what sigs.k8s.io/yaml makes of the corpus, as the fixture of the Rust YAML module's tests.
//
//	go run . > ../../../crates/kubernetes-yaml/tests/fixtures/yaml.json
//	go run . layouts > ../../../crates/kubernetes-yaml/tests/fixtures/layouts.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Load is a text and its result: JSON, or an error.
type Load struct {
	Text string `json:"text"`
	// JSON is the result as text, so that numbers keep their digits.
	JSON  string `json:"json,omitempty"`
	Error string `json:"error,omitempty"`
	// Unstable says that the result is not the same in every run.
	Unstable bool `json:"unstable,omitempty"`
	// Strict says whether UnmarshalStrict refuses what Unmarshal accepts.
	Strict string `json:"strict,omitempty"`
}

// Write is a JSON value and the YAML text Marshal gives for it.
type Write struct {
	JSON  string `json:"json"`
	YAML  string `json:"yaml,omitempty"`
	Error string `json:"error,omitempty"`
	// Unstable says that the text is not the same in every run.
	Unstable bool `json:"unstable,omitempty"`
}

// Fixture is the whole file.
type Fixture struct {
	Source string  `json:"source"`
	Loads  []Load  `json:"loads"`
	Writes []Write `json:"writes"`
}

// printLayouts prints each text with its JSON, or null where it is refused, on a line.
func printLayouts() {
	var out bytes.Buffer
	out.WriteString("[\n")
	for i, text := range layouts(6000) {
		row := []any{text, nil}
		if json, err := yaml.YAMLToJSON([]byte(text)); err == nil {
			row[1] = string(json)
		}
		if i > 0 {
			out.WriteString(",\n")
		}
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(row); err != nil {
			panic(err)
		}
		out.Truncate(out.Len() - 1)
	}
	out.WriteString("\n]\n")
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		panic(err)
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "layouts" {
		printLayouts()
		return
	}
	fixture := Fixture{Source: "sigs.k8s.io/yaml v1.6.0"}
	seen := map[string]bool{}
	written := map[string]bool{}
	write := func(text string) {
		if written[text] {
			return
		}
		written[text] = true
		row := Write{JSON: text}
		out, err := yaml.JSONToYAML([]byte(text))
		if err != nil {
			row.Error = err.Error()
		} else {
			row.YAML = string(out)
		}
		// go-yaml's order of keys has cycles; its output then depends on the run.
		for range 200 {
			if again, _ := yaml.JSONToYAML([]byte(text)); string(again) != string(out) {
				row.YAML, row.Unstable = "", true
				break
			}
		}
		fixture.Writes = append(fixture.Writes, row)
	}
	for _, text := range loads() {
		if seen[text] {
			continue
		}
		seen[text] = true
		row := Load{Text: text}
		out, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			row.Error = err.Error()
		} else {
			row.JSON = string(out)
			// Keys that differ in YAML and not in JSON (1 and "1") win by chance.
			for range 200 {
				if again, _ := yaml.YAMLToJSON([]byte(text)); string(again) != string(out) {
					row.JSON, row.Unstable = "", true
					break
				}
			}
			if !row.Unstable {
				write(row.JSON)
			}
			if _, err := yaml.YAMLToJSONStrict([]byte(text)); err != nil {
				row.Strict = err.Error()
			}
		}
		fixture.Loads = append(fixture.Loads, row)
	}
	for _, value := range writes() {
		out, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		write(string(out))
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(fixture); err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "%d texts, %d values\n", len(fixture.Loads), len(fixture.Writes))
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		panic(err)
	}
}

// lines splits a block of one-line cases.
func lines(block string) []string {
	return strings.Split(strings.Trim(block, "\n"), "\n")
}

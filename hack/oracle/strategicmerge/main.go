// Command strategicmerge asks Kubernetes' own strategic merge patch what becomes of a pod: the cases of corpus.yaml
// and seeded random ones, merged with apimachinery's strategicpatch over the struct tags of corev1.Pod.
//
//	go run . > ../../../crates/strategic-merge/tests/fixtures/strategicmerge.json
//
// Go walks a patch in random order, so every case is run many times; a case whose answer is not always the same
// says nothing about what is right and is left out (a case of the corpus then fails the run).
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

const (
	runs = 24
	// errorRuns is for the cases that fail: which of a patch's errors is met first is a matter of chance, and the
	// one recorded must be the same in every run of this program.
	errorRuns = 1000
	generated = 420
)

//go:embed corpus.yaml
var corpus []byte

// Case is a question; with its answer, a row of the fixture.
type Case struct {
	Name     string          `json:"name"`
	Original json.RawMessage `json:"original"`
	Patch    json.RawMessage `json:"patch"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func main() {
	var cases []Case
	if err := yaml.UnmarshalStrict(corpus, &cases); err != nil {
		log.Fatalf("corpus.yaml: %v", err)
	}
	names := map[string]bool{}
	for i := range cases {
		if names[cases[i].Name] {
			log.Fatalf("corpus.yaml: two cases are named %q", cases[i].Name)
		}
		names[cases[i].Name] = true
		if !answer(&cases[i]) {
			log.Fatalf("corpus.yaml: %q has no stable answer", cases[i].Name)
		}
	}
	unstable := 0
	for seed := uint64(1); seed <= generated; seed++ {
		c := generate(seed)
		if !answer(&c) {
			unstable++
			continue
		}
		cases = append(cases, c)
	}
	fmt.Fprintf(os.Stderr, "%d cases, %d generated ones without a stable answer left out\n", len(cases), unstable)

	var out bytes.Buffer
	out.WriteString("{\"module\":" + module() + ",\"cases\":[\n")
	for i, c := range cases {
		line, err := json.Marshal(c)
		if err != nil {
			log.Fatal(err)
		}
		out.Write(line)
		if i < len(cases)-1 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]}\n")
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		log.Fatal(err)
	}
}

// answer fills in the result or the error, and says whether it is always the same one. Of several errors any will do.
func answer(c *Case) bool {
	for run := 0; run < runs || c.Error != "" && run < errorRuns; run++ {
		result, failure := merge(c.Original, c.Patch)
		if run == 0 {
			c.Result, c.Error = result, failure
			continue
		}
		if !bytes.Equal(result, c.Result) || (failure == "") != (c.Error == "") {
			return false
		}
		if failure != "" && failure < c.Error {
			c.Error = failure
		}
	}
	return true
}

func merge(original, patch []byte) (result []byte, failure string) {
	defer func() {
		if r := recover(); r != nil {
			result, failure = nil, fmt.Sprintf("panic: %v", r)
		}
	}()
	result, err := strategicpatch.StrategicMergePatch(bytes.Clone(original), bytes.Clone(patch), corev1.Pod{})
	if err != nil {
		return nil, err.Error()
	}
	return result, ""
}

func module() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "k8s.io/apimachinery" {
			return fmt.Sprintf("%q", dependency.Path+"@"+dependency.Version)
		}
	}
	return `""`
}

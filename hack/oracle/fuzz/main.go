// Command fuzz gives the answers of Go and Kubernetes to the inputs of the fuzz targets (fuzz/).
//
// It reads questions as lines of JSON from its input and answers each with a line on its output, in order. A question has
// one of these keys:
//
//	"yaml"      a text: what sigs.k8s.io/yaml reads
//	"marshal"   JSON: the YAML that sigs.k8s.io/yaml writes of it
//	"merge"     two documents: what apimachinery's strategicpatch makes of them, as corev1.Pod
//	"template"  a text and its data: what text/template with sprig renders
//	"pod"       a pod: what an API server would say to its creation, and the pod as webhooks are sent it
//
// Go's random map order can give one question several answers; such an answer is marked as unstable. A
// question that takes too long or too much memory ends the process: the target starts another one.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

const (
	// patience is how long a question may take; the target waits a little longer.
	patience = 3 * time.Second
	// memory is how much address space the process may take.
	memory = 4 << 30
	// runs is how often a question is asked that may have several answers.
	runs = 6
	// output is how long a rendered text may get: ours is refused before that.
	output = 4 << 20
)

type question struct {
	YAML     *string         `json:"yaml"`
	Marshal  json.RawMessage `json:"marshal"`
	Merge    *documents      `json:"merge"`
	Template *rendering      `json:"template"`
	Pod      json.RawMessage `json:"pod"`
}

type documents struct {
	Original json.RawMessage `json:"original"`
	Patch    json.RawMessage `json:"patch"`
}

type rendering struct {
	Text string          `json:"text"`
	Data json.RawMessage `json:"data"`
}

type answer struct {
	// Text is the JSON, YAML or rendered text; absent with an error.
	Text *string `json:"text,omitempty"`
	// Error says why there is none.
	Error string `json:"error,omitempty"`
	// Phase is "parse" or "exec", for a template.
	Phase string `json:"phase,omitempty"`
	// Unstable says that the answer is not the same in every run.
	Unstable bool `json:"unstable,omitempty"`
	// Invalid is what is wrong with a pod that could be decoded.
	Invalid []string `json:"invalid,omitempty"`
	// Panic says that Go's code panicked.
	Panic string `json:"panic,omitempty"`
}

func main() {
	limit := syscall.Rlimit{Cur: memory, Max: memory}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	debug.SetMemoryLimit(memory / 4)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			late := time.AfterFunc(patience, func() { os.Exit(3) })
			encoded, failure := json.Marshal(reply(line))
			late.Stop()
			if failure != nil {
				encoded, _ = json.Marshal(answer{Panic: failure.Error()})
			}
			out.Write(append(encoded, '\n'))
			out.Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func reply(line []byte) (result answer) {
	defer func() {
		if cause := recover(); cause != nil {
			result = answer{Panic: fmt.Sprint(cause)}
		}
	}()
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Panic: err.Error()}
	}
	switch {
	case asked.YAML != nil:
		// Keys that differ in YAML and not in JSON (1 and "1") win by chance.
		return stable(func() answer { return textual(yaml.YAMLToJSON([]byte(*asked.YAML))) })
	case asked.Marshal != nil:
		// go-yaml's order of keys has cycles.
		return stable(func() answer { return textual(yaml.JSONToYAML(asked.Marshal)) })
	case asked.Merge != nil:
		return stable(func() answer { return merge(asked.Merge) })
	case asked.Template != nil:
		return stable(func() answer { return render(asked.Template) })
	case asked.Pod != nil:
		return admit(asked.Pod)
	}
	return answer{Panic: "the question has none of the known keys"}
}

// stable asks several times. Which of several errors is met first does not matter.
func stable(ask func() answer) answer {
	first := ask()
	for range runs - 1 {
		again := ask()
		if (again.Text == nil) != (first.Text == nil) || again.Text != nil && *again.Text != *first.Text || again.Phase != first.Phase {
			return answer{Unstable: true}
		}
	}
	return first
}

func textual(text []byte, err error) answer {
	if err != nil {
		return answer{Error: err.Error()}
	}
	result := string(text)
	return answer{Text: &result}
}

func merge(of *documents) answer {
	return textual(strategicpatch.StrategicMergePatch(bytes.Clone(of.Original), bytes.Clone(of.Patch), corev1.Pod{}))
}

// limited is a text that may not get longer than output.
type limited struct{ bytes.Buffer }

func (l *limited) Write(text []byte) (int, error) {
	if l.Len()+len(text) > output {
		os.Exit(3)
	}
	return l.Buffer.Write(text)
}

func render(of *rendering) answer {
	// As the injector reads its values: sigs.k8s.io/yaml into map[string]any.
	var data any
	if len(of.Data) > 0 {
		if err := yaml.Unmarshal(of.Data, &data); err != nil {
			return answer{Panic: err.Error()}
		}
	}
	parsed, err := template.New("t").Funcs(sprig.TxtFuncMap()).Parse(of.Text)
	if err != nil {
		return answer{Phase: "parse", Error: err.Error()}
	}
	var out limited
	if err := parsed.Execute(&out, data); err != nil {
		return answer{Phase: "exec", Error: err.Error()}
	}
	return textual(out.Bytes(), nil)
}

// The oracle of injection: Istio's own injector, asked over a pipe.
//
// It reads requests as lines of JSON from its input and answers each with a line on its output, in order. A line is an
// object with one of these keys, and what belongs to it:
//
//	"material"  what Istio's module brings: version, templates, values of its chart, inputs of its tests
//	"setting"   a configuration, to be used by later requests under the name in "as"
//	"canonical" a pod, to be written as an API server writes it
//	"pod"       a pod, sent to the webhook's handler as an AdmissionReview
//	"manifest"  a text, given to what `istioctl kube-inject` calls
//
// The module's files are read where the Go toolchain keeps them, in the folder that -module names; nothing of them is
// part of this repository.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"istio.io/istio/pkg/log"
)

// request is a line of the input.
type request struct {
	Material bool `json:"material"`

	Setting *setting `json:"setting"`
	As      string   `json:"as"`

	Canonical json.RawMessage `json:"canonical"`

	Use string `json:"use"`
	// Pod is the object as it is sent; Namespace and Path are those of the request.
	Pod       json.RawMessage `json:"pod"`
	Namespace string          `json:"namespace"`
	Path      string          `json:"path"`

	Manifest *string `json:"manifest"`
	// Revision is what `istioctl kube-inject --revision` is given.
	Revision string `json:"revision"`
}

// answer is a line of the output.
type answer struct {
	// Error says why a setting or a manifest is refused, or what is wrong with the line.
	Error string `json:"error,omitempty"`
	// Panic is set where Istio's code panicked; net/http would have closed the connection.
	Panic string `json:"panic,omitempty"`

	Material *material `json:"material,omitempty"`

	Canonical json.RawMessage `json:"canonical,omitempty"`

	Allowed *bool  `json:"allowed,omitempty"`
	Message string `json:"message,omitempty"`
	// Patched is the pod with the patch applied; absent without a patch.
	Patched json.RawMessage `json:"patched,omitempty"`

	Injected *string  `json:"injected,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

func main() {
	module := flag.String("module", "", "the folder of the module istio.io/istio")
	flag.Parse()
	quiet()

	oracle := &oracle{module: *module, settings: map[string]*installed{}}
	// Pods that were made hostile are long.
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			encoded, failure := json.Marshal(oracle.answer(line))
			if failure != nil {
				encoded, _ = json.Marshal(answer{Error: failure.Error()})
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

// quiet turns Istio's log off: it has a line or more for each request.
func quiet() {
	options := log.DefaultOptions()
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	if err := log.Configure(options); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
}

type oracle struct {
	module   string
	settings map[string]*installed
}

func (o *oracle) answer(line []byte) (result answer) {
	defer func() {
		if cause := recover(); cause != nil {
			result = answer{Panic: fmt.Sprint(cause)}
		}
	}()
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: "request: " + err.Error()}
	}
	switch {
	case asked.Material:
		found, err := readMaterial(o.module)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Material: found}
	case asked.Setting != nil:
		made, err := asked.Setting.install()
		if err != nil {
			return answer{Error: err.Error()}
		}
		o.settings[asked.As] = made
		return answer{}
	}
	if asked.Canonical != nil {
		return canonical(asked.Canonical)
	}
	installed, found := o.settings[asked.Use]
	switch {
	case !found:
		return answer{Error: fmt.Sprintf("request: there is no setting %q", asked.Use)}
	case asked.Manifest != nil:
		return installed.manifest(*asked.Manifest, asked.Revision)
	case asked.Pod != nil:
		return installed.review(asked.Pod, asked.Namespace, asked.Path)
	}
	return answer{Error: "request: none of material, setting, canonical, pod and manifest"}
}

// How an API server evaluates match conditions: whether an expression compiles, and its value for each pod of the corpus.
//
// The compiler, the evaluation and its cost limit are those of webhooks (k8s.io/apiserver); pods have the defaults that an API
// server has filled in by then (k8s.io/kubernetes), and the ServiceAccount that its admission plugin sets.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	celgo "github.com/google/cel-go/cel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	defaults "k8s.io/kubernetes/pkg/apis/core/v1"
)

//go:embed corpus.json
var corpusText []byte

type corpus struct {
	Pods        []json.RawMessage `json:"pods"`
	Expressions []string          `json:"expressions"`
}

// One expression: for each pod, "true", "false" or "error"; nothing if it does not compile.
type row struct {
	Expression string   `json:"expression"`
	Results    []string `json:"results,omitempty"`
}

type condition string

func (c condition) GetExpression() string      { return string(c) }
func (c condition) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.BoolType} }
func (c condition) GetName() string            { return "condition" }

func main() {
	var c corpus
	must(json.Unmarshal(corpusText, &c))
	compiler := cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	fmt.Printf("{\"pods\":%s,\"rows\":[\n", encoded(c.Pods))
	for i, expression := range c.Expressions {
		separator := ","
		if i == len(c.Expressions)-1 {
			separator = ""
		}
		fmt.Printf("%s%s\n", encoded(ask(compiler, expression, c.Pods)), separator)
	}
	fmt.Println("]}")
}

func ask(compiler cel.ConditionCompiler, expression string, pods []json.RawMessage) row {
	options := cel.OptionalVariableDeclarations{HasParams: false, HasAuthorizer: true}
	compiled := compiler.CompileCondition([]cel.ExpressionAccessor{condition(expression)}, options, environment.NewExpressions)
	if len(compiled.CompilationErrors()) > 0 {
		return row{Expression: expression}
	}
	results := make([]string, 0, len(pods))
	for _, text := range pods {
		results = append(results, evaluate(compiled, text))
	}
	return row{Expression: expression, Results: results}
}

func evaluate(compiled cel.ConditionEvaluator, text []byte) string {
	var pod corev1.Pod
	must(json.Unmarshal(text, &pod))
	pod.APIVersion, pod.Kind = "v1", "Pod"
	defaults.SetObjectDefaults_Pod(&pod)
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}}
	attributes := admission.NewAttributesRecord(&pod, nil, kind, pod.Namespace, pod.Name, resource, "", admission.Create,
		&metav1.CreateOptions{}, false, alice)
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: kind, VersionedObject: admission.NewLazyObject(&pod)}
	request := cel.CreateAdmissionRequest(attributes, metav1.GroupVersionResource(resource), metav1.GroupVersionKind(kind))
	results, _, err := compiled.ForInput(context.Background(), versioned, request,
		cel.OptionalVariableBindings{}, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
	must(err)
	if len(results) != 1 {
		panic(fmt.Sprintf("%d results", len(results)))
	}
	if results[0].Error != nil {
		return "error"
	}
	return fmt.Sprint(results[0].EvalResult.Value())
}

func encoded(value any) string {
	text, err := json.Marshal(value)
	must(err)
	return string(text)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

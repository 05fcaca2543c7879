#!/usr/bin/env bash
# A match condition that compares `request.name` or `request.subResource` with '' fails for the very requests it is about.
#
# Library:  k8s.io/apiserver v0.37.2, whose match conditions, validating and mutating policies share one compiler and one evaluation.
# Guess:    AdmissionRequest declares `name` and `subResource` as strings, and the environment of CEL declares both fields, so that
#           `request.name == ''` is true while a name is still to be generated, and `request.subResource == ''` for a plain create.
# Observed: both compile, and both are errors ("no such key") for such a request: the request is converted to a map first, and
#           empty strings are left out. `has(request.name)` is false. A boolean stays: `request.dryRun` is false without dry run.
# Matters:  an error of a match condition counts as a failed webhook. With failurePolicy Fail, every pod of a Deployment or Job is
#           rejected, while a pod with a name of its own, which a person tries, passes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26.0

require (
	github.com/google/cel-go v0.29.2
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/apiserver v0.37.2
)
MOD
cat >main.go <<'GO'
package main

import (
	"context"
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
)

type condition string

func (c condition) GetExpression() string      { return string(c) }
func (c condition) GetName() string            { return "condition" }
func (c condition) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.BoolType} }

func main() {
	compiler := cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	for _, name := range []string{"web-1", ""} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, GenerateName: "web-"}}
		attributes := admission.NewAttributesRecord(pod, nil, kind, "shop", name, resource, "", admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "alice"})
		versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: kind, VersionedObject: admission.NewLazyObject(pod)}
		request := cel.CreateAdmissionRequest(attributes, metav1.GroupVersionResource(resource), metav1.GroupVersionKind(kind))
		for _, expression := range []string{"request.name == ''", "request.subResource == ''", "has(request.name)", "!request.dryRun"} {
			compiled := compiler.CompileCondition([]cel.ExpressionAccessor{condition(expression)}, cel.OptionalVariableDeclarations{}, environment.NewExpressions)
			if errors := compiled.CompilationErrors(); len(errors) > 0 {
				panic(errors[0])
			}
			results, _, err := compiled.ForInput(context.Background(), versioned, request, cel.OptionalVariableBindings{}, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
			if err != nil {
				panic(err)
			}
			answer := fmt.Sprint(results[0].EvalResult)
			if results[0].Error != nil {
				answer = "error"
			}
			fmt.Printf("name %q: %s: %s\n", name, expression, answer)
		}
	}
}
GO
GOFLAGS=-mod=mod go mod tidy >/dev/null 2>&1
go run . >found
cat found
diff found - <<'EXPECTED'
name "web-1": request.name == '': false
name "web-1": request.subResource == '': error
name "web-1": has(request.name): true
name "web-1": !request.dryRun: true
name "": request.name == '': error
name "": request.subResource == '': error
name "": has(request.name): false
name "": !request.dryRun: true
EXPECTED

#!/usr/bin/env bash
# A webhook rule for `pods/*`, "all subresources of pods", is also for pods themselves.
#
# Library:  k8s.io/apiserver v0.37.2 (pkg/admission/plugin/webhook/predicates/rules), the matcher of the rules of webhooks and of
#           admission policies.
# Guess:    `pods/*` matches `pods/status` and `pods/exec` but not `pods`; somebody who wants both writes both, as the
#           examples of the documentation do (`["pods", "pods/*"]`); `*` matches every resource with all its subresources.
# Observed: `pods/*` matches the creation of a pod, because `*` also matches an empty subresource. `*` alone matches no
#           subresource, and `*/*` matches everything.
# Matters:  for readers of a webhook configuration who want to know what is called for a pod, and for authors of a webhook
#           for subresources only: it is called, with `failurePolicy: Fail` required, for each new pod as well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require k8s.io/apiserver v0.37.2
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"

	"k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
)

func main() {
	for _, wanted := range []string{"pods", "pods/*", "*", "*/*"} {
		fmt.Printf("%q:", wanted)
		for _, subresource := range []string{"", "status", "exec"} {
			attributes := admission.NewAttributesRecord(nil, nil,
				schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "shop", "web",
				schema.GroupVersionResource{Version: "v1", Resource: "pods"}, subresource,
				admission.Create, nil, false, nil)
			matcher := rules.Matcher{Attr: attributes, Rule: v1.RuleWithOperations{
				Operations: []v1.OperationType{v1.Create},
				Rule: v1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{wanted},
				},
			}}
			fmt.Printf(" pods/%s %v", subresource, matcher.Matches())
		}
		fmt.Println()
	}
}
GO
go mod tidy >/dev/null 2>&1
output=$(go run .)
echo "$output"
[ "$output" = '"pods": pods/ true pods/status false pods/exec false
"pods/*": pods/ true pods/status true pods/exec true
"*": pods/ true pods/status false pods/exec false
"*/*": pods/ true pods/status true pods/exec true' ]

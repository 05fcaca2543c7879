#!/usr/bin/env bash
# kubectl's JSONPath does not find the init containers that are not sidecars: `!=` is false where the field is missing.
#
# Libraries: k8s.io/client-go v0.37.2 (util/jsonpath, behind `kubectl get -o jsonpath`, which allows missing keys) and, for comparison,
#           github.com/theory/jsonpath v0.12.3, which implements RFC 9535.
# Guess:    `[?(@.restartPolicy!="Always")]` finds every init container that is not a native sidecar, also those without a
#           restartPolicy; a slice that is longer than its list ends with the list, as in RFC 9535.
# Observed: a filter skips an element that does not have the field, whatever it compares, so that the ordinary init containers,
#           which have none, are not found and nothing is written, without an error. There is no `!` and no `&&` to say it in another
#           way. A slice that ends behind the last element is an error.
# Matters:  for scripts that tell sidecars from init containers, or that look for pods whose optional field is not some value: they find
#           less than there is, and succeed. Use jq, or a Go template.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	github.com/theory/jsonpath v0.12.3
	k8s.io/client-go v0.37.2
)
MOD
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"strings"

	standard "github.com/theory/jsonpath"
	"k8s.io/client-go/util/jsonpath"
)

const spec = `{"initContainers": [
	{"name": "migrate"},
	{"name": "proxy", "restartPolicy": "Always"},
	{"name": "warm"}
]}`

func main() {
	var read any
	if err := json.Unmarshal([]byte(spec), &read); err != nil {
		panic(err)
	}
	for _, path := range []string{
		`.initContainers[?(@.restartPolicy=="Always")].name`,
		`.initContainers[?(@.restartPolicy!="Always")].name`,
		`.initContainers[?(!(@.restartPolicy=="Always"))].name`,
		`.initContainers[?(@.restartPolicy!="Always" && @.name!="warm")].name`,
		`.initContainers[0:2].name`,
		`.initContainers[0:5].name`,
	} {
		fmt.Println(path)
		fmt.Println("  kubectl: ", kubectl(read, "{"+path+"}"))
		var names []string
		for _, name := range standard.MustParse("$" + path).Select(read) {
			names = append(names, name.(string))
		}
		fmt.Println("  RFC 9535:", strings.Join(names, " "))
	}
}

func kubectl(read any, template string) string {
	path := jsonpath.New("path").AllowMissingKeys(true)
	if path.Parse(template) != nil {
		return "not parsed"
	}
	var found strings.Builder
	if path.Execute(&found, read) != nil {
		return "error"
	}
	if found.Len() == 0 {
		return "(nothing)"
	}
	return found.String()
}
GO
go mod tidy >/dev/null 2>&1
go run . >found
cat found
diff found - <<'WANTED'
.initContainers[?(@.restartPolicy=="Always")].name
  kubectl:  proxy
  RFC 9535: proxy
.initContainers[?(@.restartPolicy!="Always")].name
  kubectl:  (nothing)
  RFC 9535: migrate warm
.initContainers[?(!(@.restartPolicy=="Always"))].name
  kubectl:  not parsed
  RFC 9535: migrate warm
.initContainers[?(@.restartPolicy!="Always" && @.name!="warm")].name
  kubectl:  not parsed
  RFC 9535: migrate
.initContainers[0:2].name
  kubectl:  migrate proxy
  RFC 9535: migrate proxy
.initContainers[0:5].name
  kubectl:  error
  RFC 9535: migrate proxy warm
WANTED
echo "as observed: client-go v0.37.2 finds nothing by != where the field is missing"

#!/usr/bin/env bash
# The JSON patch library of the API server applies patches that RFC 6902 refuses.
#
# Library: gopkg.in/evanphx/json-patch.v4 v4.13.0, which kube-apiserver 1.37 applies webhook patches with.
# Guess:    an operation on a member that is not there is an error, an array index is digits without a leading zero,
#           and an `add` without a value is refused, as RFC 6902 and RFC 6901 say.
# Observed: `replace` of a missing member adds it; `copy` from a missing member writes null; `add` without a value writes
#           null; an index may be negative (`add` at -1 appends, though `remove` at -1 takes the last item away), and `01`
#           and `+1` are indexes. `remove` and `move` of a missing member are refused.
# Matters:  a webhook tested against a strict library and one tested against the API server can disagree about the same
#           patch; a `null` that nobody wrote reaches the API server's decoder as if it were there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require gopkg.in/evanphx/json-patch.v4 v4.13.0
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

func main() {
	for _, operation := range []string{
		`{"op":"replace","path":"/labels","value":{"a":"b"}}`,
		`{"op":"copy","from":"/labels","path":"/annotations"}`,
		`{"op":"add","path":"/name"}`,
		`{"op":"add","path":"/list/-1","value":"new"}`,
		`{"op":"remove","path":"/list/-1"}`,
		`{"op":"add","path":"/list/01","value":"new"}`,
		`{"op":"add","path":"/list/+1","value":"new"}`,
		`{"op":"remove","path":"/labels"}`,
		`{"op":"move","from":"/labels","path":"/annotations"}`,
	} {
		patch, err := jsonpatch.DecodePatch([]byte("[" + operation + "]"))
		if err != nil {
			fmt.Println(operation, "not decoded")
			continue
		}
		result, err := patch.Apply([]byte(`{"list":["a","b"]}`))
		if err != nil {
			fmt.Println(operation, "refused")
			continue
		}
		fmt.Println(operation, string(result))
	}
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
{"op":"replace","path":"/labels","value":{"a":"b"}} {"labels":{"a":"b"},"list":["a","b"]}
{"op":"copy","from":"/labels","path":"/annotations"} {"annotations":null,"list":["a","b"]}
{"op":"add","path":"/name"} {"list":["a","b"],"name":null}
{"op":"add","path":"/list/-1","value":"new"} {"list":["a","b","new"]}
{"op":"remove","path":"/list/-1"} {"list":["a"]}
{"op":"add","path":"/list/01","value":"new"} {"list":["a","new","b"]}
{"op":"add","path":"/list/+1","value":"new"} {"list":["a","new","b"]}
{"op":"remove","path":"/labels"} refused
{"op":"move","from":"/labels","path":"/annotations"} refused
WANTED
echo "as observed: evanphx/json-patch.v4 v4.13.0 applies patches that RFC 6902 refuses"

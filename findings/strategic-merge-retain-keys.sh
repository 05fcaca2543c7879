#!/usr/bin/env bash
# A strategic merge keeps both sources of a volume, though the type says `retainKeys`.
#
# Library: k8s.io/apimachinery v0.37.2 (pkg/util/strategicpatch) with the types of k8s.io/api v0.37.2.
# Guess:    pod.spec.volumes has the patch strategy `merge,retainKeys`, so a patch that gives a volume another source
#           replaces the source.
# Observed: the strategy does nothing by itself. Only the directive `$retainKeys` inside the patch drops the old source,
#           and only tools that compute a patch (CreateTwoWayMergePatch, kubectl apply) write it. A patch written by hand, or
#           an overlay rendered by a template, gives a volume with two sources, which the API server refuses. `env` has
#           no such strategy at all: `value` over `valueFrom` always leaves both.
# Matters:  for every tool that lays an overlay over a pod, such as a sidecar injector or a hand-written kubectl patch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
)
MOD
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

func merge(base, patch string) string {
	merged, err := strategicpatch.StrategicMergePatch([]byte(base), []byte(patch), corev1.PodSpec{})
	if err != nil {
		return err.Error()
	}
	return string(merged)
}

func main() {
	field, _ := reflect.TypeOf(corev1.PodSpec{}).FieldByName("Volumes")
	fmt.Println("strategy:", field.Tag.Get("patchStrategy"))
	base := `{"volumes":[{"name":"data","emptyDir":{}}]}`
	fmt.Println("by hand:", merge(base, `{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}`))
	fmt.Println("directive:", merge(base, `{"volumes":[{"$retainKeys":["name","persistentVolumeClaim"],"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}`))
	other := `{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}`
	computed, _ := strategicpatch.CreateTwoWayMergePatch([]byte(base), []byte(other), corev1.PodSpec{})
	var sorted any
	_ = json.Unmarshal(computed, &sorted)
	text, _ := json.Marshal(sorted)
	fmt.Println("computed:", string(text))
	fmt.Println("env:", merge(
		`{"containers":[{"name":"a","env":[{"name":"E","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}]}]}`,
		`{"containers":[{"name":"a","env":[{"name":"E","value":"v"}]}]}`))
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
strategy: merge,retainKeys
by hand: {"volumes":[{"emptyDir":{},"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}
directive: {"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}
computed: {"$setElementOrder/volumes":[{"name":"data"}],"volumes":[{"$retainKeys":["name","persistentVolumeClaim"],"emptyDir":null,"name":"data","persistentVolumeClaim":{"claimName":"c"}}]}
env: {"containers":[{"env":[{"name":"E","value":"v","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}],"name":"a"}]}
WANTED
echo "as observed: apimachinery v0.37.2 keeps both sources of a volume unless the patch itself says \$retainKeys"

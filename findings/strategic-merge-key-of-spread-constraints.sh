#!/usr/bin/env bash
# One patch, two strategic merges, two pods: apimachinery and kustomize disagree about the key of a list.
#
# Libraries: k8s.io/apimachinery v0.37.2 (kubectl patch --type=strategic, sidecar injectors) and kustomize v5.8.1.
# Guess:    pod.spec.topologySpreadConstraints is a map list with two keys, topologyKey and whenUnsatisfiable, so a patch
#           of the soft constraint of a zone leaves the hard one alone, in both tools.
# Observed: kustomize does that. apimachinery's merge knows the first key only (`patchMergeKey:"topologyKey"`): it writes
#           the patch over the *hard* constraint, which is gone, and the soft one is there twice.
# Matters:  the same overlay is right with kustomize and loses a scheduling guarantee with kubectl patch; the API server
#           then refuses the pod for its duplicate pair of keys.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pod.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: a, image: a:1}]
  topologySpreadConstraints:
  - {topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1}
  - {topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1}
YAML
cat >patch.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  topologySpreadConstraints:
  - {topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 5}
YAML
cat >kustomization.yaml <<'YAML'
resources: [pod.yaml]
patches: [{path: patch.yaml}]
YAML
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	sigs.k8s.io/kustomize/api v0.21.1
	sigs.k8s.io/kustomize/kyaml v0.21.1
	sigs.k8s.io/yaml v1.6.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func json(file string) []byte {
	text, err := os.ReadFile(file)
	must(err)
	converted, err := yaml.YAMLToJSON(text)
	must(err)
	return converted
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func show(tool string, pod []byte) {
	var read corev1.Pod
	must(yaml.Unmarshal(pod, &read))
	for _, constraint := range read.Spec.TopologySpreadConstraints {
		fmt.Println(tool, constraint.WhenUnsatisfiable, constraint.MaxSkew)
	}
}

func main() {
	merged, err := strategicpatch.StrategicMergePatch(json("pod.yaml"), json("patch.yaml"), corev1.Pod{})
	must(err)
	show("apimachinery", merged)
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), ".")
	must(err)
	text, err := built.AsYaml()
	must(err)
	show("kustomize", text)
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
apimachinery ScheduleAnyway 5
apimachinery ScheduleAnyway 1
kustomize DoNotSchedule 1
kustomize ScheduleAnyway 5
WANTED
echo "as observed: apimachinery v0.37.2 loses the hard constraint, kustomize (api v0.21.1, that of v5.8.1) keeps it"

#!/usr/bin/env bash
# A label for pods that kustomize adds also lands in a StatefulSet's volumeClaimTemplates, which cannot be changed.
#
# Tool:     kustomize v5.8.1.
# Guess:    `labels` with `includeTemplates: true` and without `includeSelectors` labels the pod templates of all workloads and nothing
#           that is immutable: it was made so that labels can be added to what is deployed already.
# Observed: it labels volumeClaimTemplates of StatefulSets, too; `includeSelectors: true` is not needed for that. The pod
#           template of a resource that kustomize does not know (an Argo Rollout) and that of a core PodTemplate get no label.
# Matters:  an overlay that adds `sidecar.istio.io/inject: "true"`, or the label of a mesh's revision, works for Deployments; an API server
#           rejects it for every StatefulSet with volumeClaimTemplates that exists, and Rollouts go without a sidecar. Use a
#           patch, or `fields` of `labels` with `spec/template/metadata/labels` and `create: true`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >resources.yaml <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: app:1}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec: {containers: [{name: app, image: app:1}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: gradual}
spec:
  selector: {matchLabels: {app: gradual}}
  template:
    metadata: {labels: {app: gradual}}
    spec: {containers: [{name: app, image: app:1}]}
YAML
mkdir all fields
cat >all/kustomization.yaml <<'YAML'
resources: [resources.yaml]
labels:
- pairs: {sidecar.istio.io/inject: "true"}
  includeTemplates: true
YAML
cat >fields/kustomization.yaml <<'YAML'
resources: [resources.yaml]
labels:
- pairs: {sidecar.istio.io/inject: "true"}
  fields:
  - {path: spec/template/metadata/labels, create: true}
YAML
cp resources.yaml all
cp resources.yaml fields
cat >go.mod <<'MOD'
module finding

go 1.26

require sigs.k8s.io/yaml v1.6.0
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

type labeled struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
}

func (l labeled) label() string {
	if value, there := l.Metadata.Labels["sidecar.istio.io/inject"]; there {
		return value
	}
	return "-"
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	for _, document := range strings.Split(string(text), "\n---\n") {
		var read struct {
			Kind string `json:"kind"`
			labeled
			Spec struct {
				Template             labeled   `json:"template"`
				VolumeClaimTemplates []labeled `json:"volumeClaimTemplates"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(document), &read); err != nil {
			panic(err)
		}
		fmt.Printf("  %s: itself %s, pods %s", read.Kind, read.label(), read.Spec.Template.label())
		for _, claim := range read.Spec.VolumeClaimTemplates {
			fmt.Printf(", volume claims %s", claim.label())
		}
		fmt.Println()
	}
}
GO
(go get -tool sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 && go mod tidy) >/dev/null 2>&1
for overlay in all fields; do
  echo "$overlay"
  go tool kustomize build "$overlay" | go run .
done >found
cat found
diff found - <<'WANTED'
all
  Deployment: itself true, pods true
  StatefulSet: itself true, pods true, volume claims true
  Rollout: itself true, pods -
fields
  Deployment: itself true, pods true
  StatefulSet: itself true, pods true, volume claims -
  Rollout: itself true, pods true
WANTED
echo "as observed: kustomize v5.8.1 labels volumeClaimTemplates with includeTemplates, and no pod template of a Rollout"

#!/usr/bin/env bash
# A webhook in Go that puts a sidecar first gives it the fields of the application's container that the webhook does not know.
#
# Library:  sigs.k8s.io/controller-runtime v0.25.2 (`webhook/admission`, `WithDefaulter`), with the types of k8s.io/api v0.37.2.
# Guess:    a defaulter keeps the fields that are not in its types, unless it is made with DefaulterRemoveUnknownOrOmitableFields. One that
#           puts a container in front of the others at worst loses such fields of the containers that it moved.
# Observed: the operations that would remove unknown fields are left out of the patch, and the patch goes by positions: with the
#           sidecar at place 0, the unknown field stays at place 0 and so belongs to the sidecar. The application is without it.
#           With the sidecar at the end every field stays where it was.
# Matters:  sidecars go first so that they start first, and API servers are newer than the webhooks they call: a new field,
#           which the pod's author set for one container, then holds for another one, and nothing reports it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	gopkg.in/evanphx/json-patch.v4 v4.13.0
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	sigs.k8s.io/controller-runtime v0.25.2
)
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The field `ofANewerRelease` stands for one that k8s.io/api does not have yet.
const pod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
	"containers": [{"name": "app", "image": "app:1", "ofANewerRelease": "for the application"}]}}`

var proxy = corev1.Container{Name: "proxy", Image: "proxy:1"}

type first struct{}

func (first) Default(_ context.Context, pod *corev1.Pod) error {
	pod.Spec.Containers = slices.Insert(pod.Spec.Containers, 0, proxy)
	return nil
}

type last struct{}

func (last) Default(_ context.Context, pod *corev1.Pod) error {
	pod.Spec.Containers = append(pod.Spec.Containers, proxy)
	return nil
}

func main() {
	show("sidecar last:", last{})
	show("sidecar first:", first{})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func show(what string, defaulter admission.Defaulter[*corev1.Pod]) {
	scheme := runtime.NewScheme()
	must(corev1.AddToScheme(scheme))
	response := admission.WithDefaulter(scheme, defaulter).Handle(context.Background(), admission.Request{
		AdmissionRequest: admissionv1.AdmissionRequest{
			Operation: admissionv1.Create,
			Object:    runtime.RawExtension{Raw: []byte(pod)},
		},
	})
	must(response.Complete(admission.Request{}))
	patch, err := jsonpatch.DecodePatch(response.Patch)
	must(err)
	patched, err := patch.Apply([]byte(pod))
	must(err)
	var read struct {
		Spec struct {
			Containers []struct {
				Name            string `json:"name"`
				Image           string `json:"image"`
				OfANewerRelease string `json:"ofANewerRelease,omitempty"`
			} `json:"containers"`
		} `json:"spec"`
	}
	must(json.Unmarshal(patched, &read))
	fmt.Println(what)
	for _, container := range read.Spec.Containers {
		text, err := json.Marshal(container)
		must(err)
		fmt.Println(" ", string(text))
	}
}
GO
go mod tidy >/dev/null 2>&1
go run . >found
cat found
diff found - <<'WANTED'
sidecar last:
  {"name":"app","image":"app:1","ofANewerRelease":"for the application"}
  {"name":"proxy","image":"proxy:1"}
sidecar first:
  {"name":"proxy","image":"proxy:1","ofANewerRelease":"for the application"}
  {"name":"app","image":"app:1"}
WANTED
echo "as observed: controller-runtime v0.25.2 leaves unknown fields at their place, where another container is by then"

#!/usr/bin/env bash
# Reading a pod from YAML turns numbers into strings in some fields and refuses the same number in their neighbours.
#
# Library:  sigs.k8s.io/yaml v1.6.0 with the types of k8s.io/api v0.37.2: how istioctl and many operators read manifests.
# Guess:    where Go has a string, an unquoted number either becomes one everywhere or is an error everywhere; JSON text is
#           read strictly.
# Observed: it becomes a string (and loses its spelling: `0.10` is "0.1", `017` is "15") except below an embedded struct. So
#           `command: [sleep, 5]` is read in a container and in a preStop hook, and refused in a probe, whose handler is
#           embedded; `name: 7` is read for a Secret in imagePullSecrets and refused in a secretKeyRef. JSON text is read in the
#           same way, and keys of either match in any case.
# Matters:  an unquoted number in a manifest is a silent change in one place and an error in the next.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	k8s.io/api v0.37.2
	sigs.k8s.io/yaml v1.6.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func show(what, text string, part func(*corev1.Pod) any) {
	var pod corev1.Pod
	if err := yaml.Unmarshal([]byte(text), &pod); err != nil {
		fmt.Println(what, "refused")
		return
	}
	read, _ := json.Marshal(part(&pod))
	fmt.Println(what, string(read))
}

func main() {
	container := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.Containers[0] }
	show("labels:", `metadata: {labels: {a: 0.10, b: 017, c: yes, d: 1_000, e: 1e3}}`, func(pod *corev1.Pod) any { return pod.Labels })
	show("command:", `spec: {containers: [{command: [sleep, 5]}]}`, func(pod *corev1.Pod) any { return container(pod).Command })
	show("preStop:", `spec: {containers: [{lifecycle: {preStop: {exec: {command: [sleep, 5]}}}}]}`, func(pod *corev1.Pod) any { return container(pod).Lifecycle.PreStop.Exec.Command })
	show("livenessProbe:", `spec: {containers: [{livenessProbe: {exec: {command: [sleep, 5]}}}]}`, func(pod *corev1.Pod) any { return container(pod).LivenessProbe.Exec.Command })
	show("imagePullSecrets:", `spec: {imagePullSecrets: [{name: 7}]}`, func(pod *corev1.Pod) any { return pod.Spec.ImagePullSecrets })
	show("secretKeyRef:", `spec: {containers: [{env: [{valueFrom: {secretKeyRef: {name: 7}}}]}]}`, func(pod *corev1.Pod) any { return container(pod).Env })
	show("JSON:", `{"Metadata": {"LABELS": {"a": true}}}`, func(pod *corev1.Pod) any { return pod.Labels })
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
labels: {"a":"0.1","b":"15","c":"true","d":"1000","e":"1000"}
command: ["sleep","5"]
preStop: ["sleep","5"]
livenessProbe: refused
imagePullSecrets: [{"name":"7"}]
secretKeyRef: refused
JSON: {"a":"true"}
WANTED
echo "as observed: sigs.k8s.io/yaml v1.6.0 makes no strings below embedded structs"

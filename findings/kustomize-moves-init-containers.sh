#!/usr/bin/env bash
# A kustomize patch that names an init container moves it in front of all others.
#
# Tool:     kustomize v5.8.1.
# Guess:    a strategic merge patch that only changes the image of an init container leaves it where it is, and one that
#           adds an init container appends it.
# Observed: both go to the front of the list. In a manifest that has been injected before, a migration whose image is
#           patched then runs before the init container that redirects traffic and before the native sidecar, and its
#           requests leave the pod in plain text. `containers` behave alike, where order hardly matters.
# Matters:  init containers run in list order. Inject last, or patch with JSON patches.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pod.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers:
  - {name: redirect, image: proxy:1}
  - {name: proxy, image: proxy:1, restartPolicy: Always}
  - {name: migrate, image: migrate:1}
  containers:
  - {name: app, image: app:1}
YAML
cat >patch.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers:
  - {name: migrate, image: migrate:2}
  - {name: warm, image: warm:1}
YAML
cat >kustomization.yaml <<'YAML'
resources: [pod.yaml]
patches: [{path: patch.yaml}]
YAML
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
go get -tool sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 >/dev/null 2>&1
diff - <(go tool kustomize build . | grep -A 20 'initContainers:' | grep 'name:') <<'WANTED'
    name: migrate
    name: warm
    name: redirect
    name: proxy
WANTED
echo "as observed: kustomize v5.8.1 puts patched and new init containers in front of all others"

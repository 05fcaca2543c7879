#!/usr/bin/env bash
# kubectl drops a transformer that is an executable, and succeeds.
#
# Tool:     kubectl v1.37.2 (module k8s.io/kubectl v0.37.2), with kustomize v5.8.1 inside.
# Guess:    `kubectl kustomize` fails for a transformer that it cannot run: without the flag for plugins, it does. With
#           --enable-alpha-plugins, it either runs the program or names the flag that is missing.
# Observed: with --enable-alpha-plugins, it leaves the transformer out: the output is that of the resources alone, nothing is on
#           stderr, and the exit code is 0. kubectl has no flag that enables programs (kustomize's --enable-exec).
# Matters:  if the transformer adds a sidecar, `kubectl kustomize | kubectl apply -f -` applies pods without it. Use kustomize itself with
#           --enable-exec, or check the output.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir overlay kubectl
cat >overlay/resource.yaml <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: original}
YAML
cat >overlay/transformer.yaml <<'YAML'
apiVersion: example.com/v1
kind: Rename
metadata:
  name: rename
  annotations:
    config.kubernetes.io/function: |
      exec: {path: ./rename}
YAML
cat >overlay/kustomization.yaml <<'YAML'
resources: [resource.yaml]
transformers: [transformer.yaml]
YAML
printf '#!/bin/sh\nsed "s/original/renamed/"\n' >overlay/rename
chmod +x overlay/rename
cat >kubectl/go.mod <<'MOD'
module finding

go 1.26
MOD
cat >kubectl/main.go <<'GO'
package main

import (
	"os"

	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	if cmd.NewDefaultKubectlCommand().Execute() != nil {
		os.Exit(1)
	}
}
GO
(cd kubectl && go get k8s.io/kubectl@v0.37.2 && go mod tidy && go build -o kubectl .) >build.log 2>&1 || { cat build.log >&2; exit 1; }
if ./kubectl/kubectl kustomize overlay 2>without; then
  echo "changed: kubectl accepts the transformer without a flag" >&2
  exit 1
fi
grep -q "external plugins disabled" without
(cd overlay && ../kubectl/kubectl kustomize --enable-alpha-plugins . >../output 2>../stderr)
diff - output <<'WANTED'
apiVersion: v1
kind: ConfigMap
metadata:
  name: original
WANTED
[ ! -s stderr ]
# The same overlay by kustomize itself, where programs are enabled.
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
go get -tool sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 >/dev/null 2>&1
go build -o kustomize sigs.k8s.io/kustomize/kustomize/v5
(cd overlay && ../kustomize build --enable-alpha-plugins --enable-exec .) | grep -q "name: renamed"
echo "as observed: kubectl v1.37.2 drops a transformer that is an executable and exits with 0; kustomize v5.8.1 runs it"

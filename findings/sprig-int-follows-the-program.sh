#!/usr/bin/env bash
# sprig's `int` of a string is another number in Helm than in Istio, though both have the same sprig; and it is no decimal number.
#
# Library:  github.com/Masterminds/sprig/v3 v3.3.0, with the github.com/spf13/cast that each program selects: v1.7.0 in Helm v4.3.1 (and 3.20),
#           v1.10.0 in Istio of August 2026.
# Guess:    sprig's version decides what its functions return, and `int` of a string reads decimal digits as `atoi` does.
# Observed: `int "1.9"` is 0 with Helm and 1 with Istio, `int "10."` 0 and 10. In both a leading zero means octal: `int "0644"` is 420, and
#           `int "08"` 0, where `atoi` has 644 and 8. `add` follows `int`. What cannot be read ("500m", "1e3") is 0 without an error.
# Matters:  values of annotations and of `--set-string` are strings. A template that computes with them can give a port or a limit of 0, and a test of
#           an injection template with `helm template` does not show what the injector does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

func main() {
	text := "{{ printf `%q` . }}: int {{ int . }}, add {{ add . 0 }}, atoi {{ atoi . }}\n"
	parsed := template.Must(template.New("int").Funcs(sprig.TxtFuncMap()).Parse(text))
	for _, number := range []string{"15", "1.0", "1.9", "10.", "0644", "08", "0x10", "500m", "1e3"} {
		if err := parsed.Execute(os.Stdout, number); err != nil {
			fmt.Println(err)
		}
	}
}
GO
for module in helm.sh/helm/v4@v4.3.1 istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad; do
  selection=$(go list -m -f '{{.GoMod}}' "$module")
  version() { awk -v name="$1" '$1 == name { print $2 }' "$selection"; }
  cast=$(version github.com/spf13/cast)
  sprig=$(version github.com/Masterminds/sprig/v3)
  cat >go.mod <<MOD
module finding

go 1.26

require (
	github.com/Masterminds/sprig/v3 $sprig
	github.com/spf13/cast $cast // indirect
)
MOD
  echo "${module%%.*}: sprig $sprig, cast $cast"
  GOFLAGS=-mod=mod go run . 2>log || { cat log >&2; exit 1; }
done >found
cat found
diff found - <<'WANTED'
helm: sprig v3.3.0, cast v1.7.0
"15": int 15, add 15, atoi 15
"1.0": int 1, add 1, atoi 0
"1.9": int 0, add 0, atoi 0
"10.": int 0, add 0, atoi 0
"0644": int 420, add 420, atoi 644
"08": int 0, add 0, atoi 8
"0x10": int 16, add 16, atoi 0
"500m": int 0, add 0, atoi 0
"1e3": int 0, add 0, atoi 0
istio: sprig v3.3.0, cast v1.10.0
"15": int 15, add 15, atoi 15
"1.0": int 1, add 1, atoi 0
"1.9": int 1, add 1, atoi 0
"10.": int 10, add 10, atoi 0
"0644": int 420, add 420, atoi 644
"08": int 0, add 0, atoi 8
"0x10": int 16, add 16, atoi 0
"500m": int 0, add 0, atoi 0
"1e3": int 0, add 0, atoi 0
WANTED
echo "as observed: int of sprig v3.3.0 differs between Helm v4.3.1 and Istio of August 2026"

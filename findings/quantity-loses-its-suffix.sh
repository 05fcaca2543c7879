#!/usr/bin/env bash
# Kubernetes writes quantities differently from what it read, and very large ones as another amount.
#
# Library:  k8s.io/apimachinery v0.37.2 (pkg/api/resource).
# Guess:    a quantity that was parsed is written in canonical form, with the same amount; what is too large is an error.
# Observed: from 10^21 up there is no suffix left and it is dropped without an error: `1000E` is written as `1`. Some
#           spellings come back as they were (`010Gi`, `+5`, `5.`, `1E3`), others do not (`1000m` is `1`, `1e4` is `10e3`,
#           `1.2Gi` is `1288490188800m`). A text without any digit is zero (`.`, `E`). Only binary suffixes stop at 2^63-1,
#           so that `8Ei` is less than 9223372036854775808, which is the same number of bytes.
# Matters:  comparing quantities as text reports false drift, and a round trip can change an amount.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require k8s.io/apimachinery v0.37.2
MOD
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

func main() {
	for _, text := range []string{"10E", "1000E", "010Gi", "+5", "5.", "1E3", "1000m", "1e4", "1.2Gi", ".", "E"} {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			fmt.Println(text, "refused")
			continue
		}
		written, _ := json.Marshal(quantity)
		fmt.Println(text, string(written))
	}
	binary, decimal := resource.MustParse("8Ei"), resource.MustParse("9223372036854775808")
	fmt.Println("8Ei against 9223372036854775808:", binary.Cmp(decimal))
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
10E "10E"
1000E "1"
010Gi "010Gi"
+5 "+5"
5. "5."
1E3 "1E3"
1000m "1"
1e4 "10e3"
1.2Gi "1288490188800m"
. "0"
E "0"
8Ei against 9223372036854775808: -1
WANTED
echo "as observed: apimachinery v0.37.2 writes 1000E as 1"

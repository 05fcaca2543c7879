#!/usr/bin/env bash
# One OTEL_RESOURCE_ATTRIBUTES, five sets of attributes: no two SDKs agree about escapes, spaces and mistakes.
#
# Libraries: OpenTelemetry's SDKs: Go v1.47.0, Python 1.45.2, Rust 0.33.1, Node 2.12.1 and 3.1.1 (@opentelemetry/resources).
# Guess:    the specification asks for values that are percent-encoded, so every SDK decodes them; a pair that is wrong is left out, and
#           the others hold; a space in a value is read as it stands.
# Observed: Rust does not decode: the value is `Web%20Shop`. Node 2 drops all attributes for one space or letter outside of ASCII in any
#           value, Node 3 for one pair without `=`; both for one `%` that is no escape, which the others keep. Node
#           writes why only at the log level debug. Node 2 takes quotes away.
# Matters:  operators and injectors set the variable in every pod from annotations, whatever its language. A value with a space breaks Node 2
#           as it is and Rust when it is encoded; and if it breaks, `k8s.pod.name` and the others in the variable go with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p go rust/src node2 node3
cat >go/go.mod <<'MOD'
module finding

go 1.26

require go.opentelemetry.io/otel/sdk v1.47.0
MOD
cat >go/main.go <<'GO'
package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/resource"
)

func main() {
	// A pair that is wrong is an error; the resource holds the others.
	read, _ := resource.New(context.Background(), resource.WithFromEnv())
	for _, attribute := range read.Attributes() {
		fmt.Printf("%s=%s\n", attribute.Key, attribute.Value.AsString())
	}
}
GO
cat >rust/Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
opentelemetry_sdk = { version = "=0.33.1", default-features = false, features = ["trace"] }

[workspace]
TOML
cat >rust/src/main.rs <<'RUST'
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};

fn main() {
    for (key, value) in EnvResourceDetector::new().detect().iter() {
        println!("{key}={value}");
    }
}
RUST
cat >read.py <<'PYTHON'
from opentelemetry.sdk.resources import OTELResourceDetector

for key, value in OTELResourceDetector().detect().attributes.items():
    print(f"{key}={value}")
PYTHON
cat >read.mjs <<'NODE'
import {envDetector} from '@opentelemetry/resources';

for (const [key, value] of Object.entries(envDetector.detect().attributes ?? {})) {
  console.log(`${key}=${value}`);
}
NODE
(cd go && go mod tidy && go build -o ../read-go .) >log 2>&1 || { cat log >&2; exit 1; }
(cd rust && CARGO_TARGET_DIR="$folder/target" cargo build --quiet)
{ python3 -m venv python && python/bin/pip install opentelemetry-sdk==1.45.2; } >log 2>&1 || { cat log >&2; exit 1; }
for major in 2:2.12.1 3:3.1.1; do
  cp read.mjs "node${major%%:*}"
  (cd "node${major%%:*}" && npm install --no-audit --no-fund "@opentelemetry/resources@${major#*:}") >log 2>&1 || { cat log >&2; exit 1; }
done
show() {
  local name=$1 found
  shift
  found=$("$@" 2>/dev/null | LC_ALL=C sort | paste -sd ';')
  printf '  %-7s %s\n' "$name" "${found:-(nothing)}"
}
while read -r attributes; do
  export OTEL_RESOURCE_ATTRIBUTES=$attributes
  echo "$attributes"
  show Go ./read-go
  show Python python/bin/python read.py
  show Rust target/debug/finding
  show 'Node 2' node node2/read.mjs
  show 'Node 3' node node3/read.mjs
done >found <<'TEXT'
pod=web,team=shop
pod=web,team=Web%20Shop
pod=web,team=Web Shop
pod=web,team=Müller
pod=web,team=50%
pod=web,shop
pod=web,team="shop"
TEXT
cat found
diff found - <<'WANTED'
WANTED
echo "as observed: OpenTelemetry's SDKs read OTEL_RESOURCE_ATTRIBUTES differently"

#!/usr/bin/env bash
# One OTEL_RESOURCE_ATTRIBUTES, different attributes: OpenTelemetry's SDKs disagree about escapes, spaces and mistakes.
#
# Libraries: the SDKs for Go v1.47.0, Python 1.45.2, Rust 0.33.1 and Node (@opentelemetry/resources 3.1.1, and 2.2.0 of a year before).
# Guess:    values are percent-encoded, as in the specification, so every SDK decodes them; a pair that is wrong is left out and the
#           others hold; a space in a value is read as it stands.
# Observed: Rust does not decode: the value is `Web%20Shop`. Node drops every attribute for one `%` that is no escape, and 3.1.1 also for
#           one pair without `=`; the others keep what they can. Node 2.2.0 drops every attribute for one space or letter outside of
#           ASCII, and takes quotes away. Node says why only at the log level debug.
# Matters:  operators and injectors put pod, node and values of the pod's author into this one variable, whatever language the pod is in. One
#           value with a `%` takes the pod's name away from all traces of Node, and no spelling of a space is right everywhere.
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
for major in 2:2.2.0 3:3.1.1; do
  cp read.mjs "node${major%%:*}"
  (cd "node${major%%:*}" && npm install --no-audit --no-fund "@opentelemetry/resources@${major#*:}") >log 2>&1 || { cat log >&2; exit 1; }
done
show() {
  local name=$1 found
  shift
  found=$("$@" 2>/dev/null | LC_ALL=C sort | paste -sd ';')
  printf '  %-8s %s\n' "$name" "${found:-(nothing)}"
}
while read -r attributes; do
  export OTEL_RESOURCE_ATTRIBUTES=$attributes
  echo "$attributes"
  show Go ./read-go
  show Python python/bin/python read.py
  show Rust target/debug/finding
  show 'Node 2.2' node node2/read.mjs
  show 'Node 3.1' node node3/read.mjs
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
pod=web,team=shop
  Go       pod=web;team=shop
  Python   pod=web;team=shop
  Rust     pod=web;team=shop
  Node 2.2 pod=web;team=shop
  Node 3.1 pod=web;team=shop
pod=web,team=Web%20Shop
  Go       pod=web;team=Web Shop
  Python   pod=web;team=Web Shop
  Rust     pod=web;team=Web%20Shop
  Node 2.2 pod=web;team=Web Shop
  Node 3.1 pod=web;team=Web Shop
pod=web,team=Web Shop
  Go       pod=web;team=Web Shop
  Python   pod=web;team=Web Shop
  Rust     pod=web;team=Web Shop
  Node 2.2 (nothing)
  Node 3.1 pod=web;team=Web Shop
pod=web,team=Müller
  Go       pod=web;team=Müller
  Python   pod=web;team=Müller
  Rust     pod=web;team=Müller
  Node 2.2 (nothing)
  Node 3.1 pod=web;team=Müller
pod=web,team=50%
  Go       pod=web;team=50%
  Python   pod=web;team=50%
  Rust     pod=web;team=50%
  Node 2.2 (nothing)
  Node 3.1 (nothing)
pod=web,shop
  Go       pod=web
  Python   pod=web
  Rust     pod=web
  Node 2.2 pod=web
  Node 3.1 (nothing)
pod=web,team="shop"
  Go       pod=web;team="shop"
  Python   pod=web;team="shop"
  Rust     pod=web;team="shop"
  Node 2.2 pod=web;team=shop
  Node 3.1 pod=web;team="shop"
WANTED
echo "as observed: the SDKs for Go v1.47.0, Python 1.45.2, Rust 0.33.1 and Node 2.2.0 and 3.1.1 read OTEL_RESOURCE_ATTRIBUTES differently"

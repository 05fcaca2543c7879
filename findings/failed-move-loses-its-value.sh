#!/usr/bin/env bash
# A JSON patch that the Rust crate json-patch rejects can leave the document changed: the value of a failed `move` is gone.
#
# Library:  json-patch 5.0.0 (`patch`).
# Guess:    as its documentation promises, a patch that fails leaves the document as it was. RFC 5789 demands it, too.
# Observed: operations before the failed one are undone. A failed `move` itself is not: the value was taken from its old place
#           before the new place turned out not to exist, and it is in neither afterwards. `add`, `copy`, `replace`, `remove` and
#           `test` leave the document as it was. For some patches, undoing panics; none of them is here.
# Matters:  a caller that reports the error and goes on with its document has lost a part of it. Work on a copy, and drop the
#           copy if there is an error; `patch_unsafe` is then the better function.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
json-patch = "=5.0.0"
serde_json = "1"
TOML
cat >src/main.rs <<'RUST'
use serde_json::{Value, json};

fn main() {
    let before = json!({"metadata": {"labels": {"app": "shop"}}});
    for last in [
        json!({"op": "add", "path": "/spec/volumes/-", "value": {}}),
        json!({"op": "copy", "from": "/metadata/labels", "path": "/spec/labels"}),
        json!({"op": "remove", "path": "/spec"}),
        json!({"op": "test", "path": "/metadata/labels/app", "value": "bank"}),
        json!({"op": "move", "from": "/metadata/labels", "path": "/spec/labels"}),
    ] {
        let operations = json!([{"op": "add", "path": "/kind", "value": "Pod"}, last]);
        let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
        let mut after: Value = before.clone();
        json_patch::patch(&mut after, &patch).unwrap_err();
        println!("{}: {after}", last["op"].as_str().unwrap());
    }
}
RUST
cat >expected <<'TEXT'
add: {"metadata":{"labels":{"app":"shop"}}}
copy: {"metadata":{"labels":{"app":"shop"}}}
remove: {"metadata":{"labels":{"app":"shop"}}}
test: {"metadata":{"labels":{"app":"shop"}}}
move: {"metadata":{}}
TEXT
CARGO_TARGET_DIR="$folder/target" cargo run --quiet >observed
cat observed
diff expected observed

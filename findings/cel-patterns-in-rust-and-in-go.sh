#!/usr/bin/env bash
# The same CEL expression with `matches` is true in Rust's CEL and false in an API server's, and some patterns exist in one only.
#
# Libraries: cel 0.15.0 (Rust, the one of the CEL project's Rust repository) and github.com/google/cel-go v0.29.2 (API servers 1.37).
# Guess:    CEL defines `matches` by RE2's syntax, so an implementation with another engine translates the pattern; for letters,
#           digits and counts both agree.
# Observed: the Rust crate hands the pattern to the crate `regex` as it is. There `\w`, `\d`, `\s` and `\b` are Unicode's, in RE2
#           ASCII's: 'größe' matches `^\w+$` in one and not in the other. `\Q…\E`, `x{,2}` (literal in RE2) are errors in Rust;
#           `(?x)` and counts above 1000 are errors in Go only.
# Matters:  a policy that is tested or enforced outside of the API server (gateways, command lines, admission webhooks in Rust)
#           decides differently from the same expression in a match condition or ValidatingAdmissionPolicy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >expressions <<'TEXT'
'größe'.matches('^\\w+$')
'٣'.matches('^\\d$')
'grosse'.matches('^\\w+$')
'x'.matches('\\Qx\\E')
'x{,2}'.matches('^x{,2}$')
'x'.matches('(?x) x')
'x'.matches('x{1001}')
TEXT
mkdir -p rust/src go
cat >rust/Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
cel = { version = "=0.15.0", default-features = false, features = ["regex"] }

[workspace]
TOML
cat >rust/src/main.rs <<'RUST'
fn main() {
    for line in include_str!("../../expressions").lines() {
        let program = cel::Program::compile(line).expect("it parses");
        match program.execute(&cel::Context::default()) {
            Ok(cel::Value::Bool(holds)) => println!("{line} {holds}"),
            _ => println!("{line} error"),
        }
    }
}
RUST
cat >go/go.mod <<'MOD'
module finding

go 1.26

require github.com/google/cel-go v0.29.2
MOD
cat >go/main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/cel-go/cel"
)

func main() {
	text, _ := os.ReadFile("../expressions")
	env, _ := cel.NewEnv()
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fmt.Println(line, answer(env, line))
	}
}

func answer(env *cel.Env, line string) string {
	ast, issues := env.Compile(line)
	if issues.Err() != nil {
		panic(issues.Err())
	}
	program, err := env.Program(ast)
	if err != nil {
		return "error"
	}
	value, _, err := program.Eval(map[string]any{})
	if err != nil {
		return "error"
	}
	return fmt.Sprint(value)
}
GO
(cd rust && CARGO_TARGET_DIR="$folder/target" cargo run --quiet) >rust.found
(cd go && GOFLAGS=-mod=mod go mod tidy >/dev/null 2>&1 && go run .) >go.found
paste -d ' ' <(awk '{print}' rust.found) <(awk '{print $NF}' go.found) >found
cat found
diff found - <<'EXPECTED'
'größe'.matches('^\\w+$') true false
'٣'.matches('^\\d$') true false
'grosse'.matches('^\\w+$') true true
'x'.matches('\\Qx\\E') error true
'x{,2}'.matches('^x{,2}$') error true
'x'.matches('(?x) x') true error
'x'.matches('x{1001}') false error
EXPECTED

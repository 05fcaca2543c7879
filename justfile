# Everyday verbs; `just` lists them.

default:
    @just --list

# formatting, lints, tests: what to run before a commit
check: fmt-check clippy test

fmt-check:
    cargo fmt --check

clippy:
    cargo clippy --all-targets --test e2e --test controlplane --test differential -- -D warnings

test:
    cargo test

# the injector alone, without a C compiler: no server, no TLS
core:
    cargo test -p gotemplate -p kubernetes-yaml -p strategic-merge -p istio-config -p injector

# the recorded answers of Istio; `just conformance --include-ignored` for those in ../shared/istio-golden, too
conformance *ARGS:
    cargo test --test suite conformance -- --nocapture {{ARGS}}

# Istio's own injector, asked while the test runs (the first time it is built: Go, and some minutes)
differential *ARGS:
    cargo test --release --test differential -- --nocapture {{ARGS}}

# tests/fixtures/istio anew, from Istio's own injector
recordings:
    cargo test --test differential recordings_are_made -- --ignored --nocapture

# the end-to-end tests, on a real control plane (the first time it is built: Go, and some minutes)
e2e *ARGS:
    cargo test --test e2e -- {{ARGS}}

# three quarters of an hour of pods, rotations, restarts and kills; `just soak 3m` is what `just e2e` runs
soak DURATION='45m':
    OUTRIGGER_SOAK={{DURATION}} cargo test --test e2e -- --nocapture soak

# pods on a real node, with istiod and Envoy: Linux and root (the first time it is built: Go, and some ten minutes)
node-checks *ARGS:
    hack/node/run {{ARGS}}

# a real node to try things on, with istiod and outrigger: it prints how to enter and how to end it
node FOLDER='/tmp/outrigger-node':
    hack/node/run --leave {{FOLDER}}

# a control plane to try things on, until Ctrl-C; `just controlplane oldest` for the oldest Kubernetes that is supported
controlplane *FLAVOUR:
    cargo test --quiet --test controlplane -- {{FLAVOUR}}

# a fuzz target for twenty minutes (docs/testing.md has the list); `just fuzz pod 60` for a minute
fuzz TARGET SECONDS="1200":
    fuzz/run -t {{SECONDS}} {{TARGET}}

bench:
    cargo bench --bench injection
    cargo bench --bench allocations

# everything docs/performance.md shows: some twenty minutes; `just perf smoke` is under a minute
perf *ARGS:
    hack/perf/run {{ARGS}}

# the same server, asked by wrk and h2load
load *CORPUS:
    hack/perf/eyes {{CORPUS}}

# a webhook on loopback with the embedded configuration
serve:
    cargo run --release -- serve --standalone --listen 127.0.0.1:8443 --admin 127.0.0.1:8080

# regenerate fixtures and type tables from Go's own implementations (needs Go and its module proxy)
oracles:
    for pair in annotations:injector cel:injector decoding:injector formats:injector meshconfig:istio-config pem:injector \
      podschema:strategic-merge podsecurity:injector selector:injector strategicmerge:strategic-merge template:gotemplate yaml:kubernetes-yaml; do \
      oracle="${pair%%:*}" crate="${pair##*:}"; \
      (cd "hack/oracle/$oracle" && go run . > "../../../crates/$crate/tests/fixtures/$oracle.json") || exit 1; done
    cd hack/oracle/yaml && go run . layouts > ../../../crates/kubernetes-yaml/tests/fixtures/layouts.json
    cd hack/oracle/gotypes && go run . fixture > ../../../crates/injector/tests/fixtures/gotypes.json
    cd hack/oracle/gotypes && go run . istio > ../../../crates/istio-config/src/gotypes.rs
    cd hack/oracle/gotypes && for table in kubernetes decoding unions; do \
      go run . $table > ../../../crates/injector/src/gotypes/$table.rs || exit 1; done

# outrigger's image as an OCI archive, without a container engine: target/outrigger-image.tar
image *ARGS:
    hack/image/build {{ARGS}}

# the pages of `outrigger ui` in a headless Chromium; SCREENSHOTS=FOLDER writes pictures of them
ui:
    cargo build
    .ci/ui

# the chart and the manifests: rendered, and asked of real API servers
chart:
    .ci/chart

# deploy/base anew, from the chart
kustomize:
    cd hack/chart && python3 kustomize.py

# everything CI runs
ci:
    .ci/run

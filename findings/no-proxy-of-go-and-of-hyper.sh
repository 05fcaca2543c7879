#!/usr/bin/env bash
# The same NO_PROXY sends Go's clients straight to an address and hyper's and reqwest's to the proxy.
#
# Libraries: hyper-util 0.1.21 (`client::proxy::matcher`, also behind reqwest) and golang.org/x/net v0.57.0 (`httpproxy`, which is what
#           net/http does with the environment).
# Guess:    `*` means that nothing goes to the proxy; a port narrows an entry down; `*.example.com` covers the hosts below
#           example.com; both libraries agree about such plain values.
# Observed: Go does all that. hyper-util's `*` covers names and no IP addresses, and an entry with a port or with `*.` in front
#           covers nothing at all, without an error. Names, `10.0.0.0/8` and addresses alone mean the same to both.
# Matters:  inside of a cluster the API server is an IP address in KUBERNETES_SERVICE_HOST: with `NO_PROXY=*` in the pod a Rust client
#           asks the proxy for it and a Go client does not. Write ranges, and domains without `*` and without ports.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p go rust/src
cat >go/go.mod <<'MOD'
module finding

go 1.26

require golang.org/x/net v0.57.0
MOD
cat >go/main.go <<'GO'
package main

import (
	"fmt"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"
)

func main() {
	for _, argument := range os.Args[1:] {
		config := httpproxy.Config{HTTPSProxy: "http://proxy:3128", NoProxy: argument}
		for _, host := range []string{"api.example.com", "10.0.0.1"} {
			proxy, err := config.ProxyFunc()(&url.URL{Scheme: "https", Host: host})
			if err != nil {
				panic(err)
			}
			way := "direct"
			if proxy != nil {
				way = "proxy"
			}
			fmt.Printf("%s %s: Go %s\n", argument, host, way)
		}
	}
}
GO
cat >rust/Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
http = "1"
hyper-util = { version = "=0.1.21", features = ["client-proxy"] }
TOML
cat >rust/src/main.rs <<'RUST'
use hyper_util::client::proxy::matcher::Matcher;

fn main() {
    for argument in std::env::args().skip(1) {
        let matcher = Matcher::builder().https("http://proxy:3128").no(argument.as_str()).build();
        for host in ["api.example.com", "10.0.0.1"] {
            let target: http::Uri = format!("https://{host}/").parse().expect("a URL");
            let way = if matcher.intercept(&target).is_some() { "proxy" } else { "direct" };
            println!("hyper {way}");
        }
    }
}
RUST
values=('*' '*.example.com' 'example.com:443' '10.0.0.1:443' 'example.com' '.example.com' '10.0.0.0/8' '10.0.0.1')
(cd go && go mod tidy >/dev/null 2>&1 && go run . "${values[@]}") >go.txt
(cd rust && cargo run --quiet --target-dir target -- "${values[@]}") >rust.txt
diff - <(paste -d' ' go.txt rust.txt) <<'WANTED'
* api.example.com: Go direct hyper direct
* 10.0.0.1: Go direct hyper proxy
*.example.com api.example.com: Go direct hyper proxy
*.example.com 10.0.0.1: Go proxy hyper proxy
example.com:443 api.example.com: Go direct hyper proxy
example.com:443 10.0.0.1: Go proxy hyper proxy
10.0.0.1:443 api.example.com: Go proxy hyper proxy
10.0.0.1:443 10.0.0.1: Go direct hyper proxy
example.com api.example.com: Go direct hyper direct
example.com 10.0.0.1: Go proxy hyper proxy
.example.com api.example.com: Go direct hyper direct
.example.com 10.0.0.1: Go proxy hyper proxy
10.0.0.0/8 api.example.com: Go proxy hyper proxy
10.0.0.0/8 10.0.0.1: Go direct hyper direct
10.0.0.1 api.example.com: Go proxy hyper proxy
10.0.0.1 10.0.0.1: Go direct hyper direct
WANTED
echo "as observed: hyper-util 0.1.21 and Go's httpproxy v0.57.0 read NO_PROXY differently"

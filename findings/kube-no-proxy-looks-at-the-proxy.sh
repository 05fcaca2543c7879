#!/usr/bin/env bash
# kube compares NO_PROXY with the address of the proxy, not with that of the API server.
#
# Library:  kube 5.0.0 with the feature `http-proxy`, where it reads a kubeconfig.
# Guess:    NO_PROXY lists hosts that are reached without the proxy, as for client-go, curl and every other client: if the API
#           server's host is in it, `Config::proxy_url` is None. What is empty between two commas is nothing.
# Observed: the API server's host and range change nothing; the host of the *proxy* in NO_PROXY, with its port, switches the
#           proxy off for all API servers. `example.com,,10.0.0.0/8` and a last comma are errors, and no client is made.
# Matters:  a cluster that is reached without the company's proxy, as NO_PROXY says, is asked through it, and times out or is
#           refused there; kubectl works on the same machine. A stray comma, which others pass over, ends the program.
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
kube = { version = "=5.0.0", default-features = false, features = ["client", "http-proxy"] }
k8s-openapi = { version = "0.29", features = ["latest"] }
tokio = { version = "1", features = ["macros", "rt"] }

[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443'}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let kubeconfig = Kubeconfig::from_yaml(KUBECONFIG).expect("a kubeconfig");
    match Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await {
        Ok(config) => println!("{}", config.proxy_url.map_or("direct".to_owned(), |url| format!("by {url}"))),
        Err(error) => println!("error: {error}"),
    }
}
RUST
cargo build --quiet --target-dir target
unset https_proxy no_proxy
export HTTPS_PROXY=http://proxy.example.com:3128
diff - <(for value in '10.0.0.1' '10.0.0.0/8' '*' 'proxy.example.com:3128' 'example.org,,example.com' 'example.org,'; do
  echo "NO_PROXY=$value: $(NO_PROXY="$value" target/debug/finding)"
done) <<'WANTED'
NO_PROXY=10.0.0.1: by http://proxy.example.com:3128/
NO_PROXY=10.0.0.0/8: by http://proxy.example.com:3128/
NO_PROXY=*: direct
NO_PROXY=proxy.example.com:3128: direct
NO_PROXY=example.org,,example.com: error: failed to parse NO_PROXY/no_proxy env var
NO_PROXY=example.org,: error: failed to parse NO_PROXY/no_proxy env var
WANTED
echo "as observed: kube 5.0.0 compares NO_PROXY with the proxy's own address, and refuses empty entries"

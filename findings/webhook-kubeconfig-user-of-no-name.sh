#!/usr/bin/env bash
# Credentials of the API server for one webhook go to other webhooks too, and a port decides which entry wins.
#
# Library:  k8s.io/apiserver v0.37.2 (pkg/util/webhook), which reads the kubeconfig file that an AdmissionConfiguration names.
# Guess:    an entry under `users` is for the webhooks that its name fits, the most exact name wins whether or not it has a
#           port, and a webhook that no name fits is called without credentials.
# Observed: every name is tried with the port before any is tried without, so that `*.svc:443` wins over
#           `injector.mesh.svc`; at a port that is not 443 a name without port fits nothing. A webhook that no name fits is
#           called as the user of `current-context`, which kubectl writes into any kubeconfig: a webhook at somebody else's
#           URL then gets the same token or client certificate.
# Matters:  for everybody who authenticates API servers to webhooks with an `AdmissionConfiguration`. Leave `current-context`
#           out, and write the port with each name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require k8s.io/apiserver v0.37.2
MOD
cat >users.yaml <<'YAML'
apiVersion: v1
kind: Config
users:
- {name: "injector.mesh.svc", user: {token: exact}}
- {name: "*.svc:443", user: {token: wildcard-with-port}}
- {name: "policy.example.com", user: {token: of-a-url}}
YAML
cat >context.yaml <<'YAML'
apiVersion: v1
kind: Config
users:
- {name: "injector.mesh.svc:443", user: {token: of-the-injector}}
contexts:
- {name: ours, context: {cluster: none, user: "injector.mesh.svc:443"}}
current-context: ours
YAML
cat >main.go <<'GO'
package main

import (
	"fmt"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

func show(target string, config *rest.Config, err error) {
	if err != nil {
		panic(err)
	}
	token := config.BearerToken
	if token == "" {
		token = "(no credentials)"
	}
	fmt.Printf("  %s: %s\n", target, token)
}

func main() {
	for _, file := range []string{"users.yaml", "context.yaml"} {
		fmt.Println(file)
		users, err := webhook.NewDefaultAuthenticationInfoResolver(file)
		if err != nil {
			panic(err)
		}
		for _, port := range []int{443, 8443} {
			config, err := users.ClientConfigForService("injector", "mesh", port)
			show(fmt.Sprint("service mesh/injector, port ", port), config, err)
		}
		for _, address := range []string{"policy.example.com:443", "policy.example.com:8443", "elsewhere.example.org:443"} {
			config, err := users.ClientConfigFor(address)
			show("URL at "+address, config, err)
		}
	}
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'WANTED'
users.yaml
  service mesh/injector, port 443: wildcard-with-port
  service mesh/injector, port 8443: (no credentials)
  URL at policy.example.com:443: of-a-url
  URL at policy.example.com:8443: (no credentials)
  URL at elsewhere.example.org:443: (no credentials)
context.yaml
  service mesh/injector, port 443: of-the-injector
  service mesh/injector, port 8443: of-the-injector
  URL at policy.example.com:443: of-the-injector
  URL at policy.example.com:8443: of-the-injector
  URL at elsewhere.example.org:443: of-the-injector
WANTED
echo "as observed: apiserver v0.37.2 prefers names with ports, and calls webhooks that no name fits as the current user"

#!/usr/bin/env bash
# A renewed client certificate on disk makes Kubernetes' client fail the requests that are in flight.
#
# Library:  k8s.io/client-go v0.37.2 with certificate and key from files: kubelets, controllers, and kube-apiserver where it
#           calls admission webhooks with a client certificate.
# Guess:    new connections use the new certificate, and requests in flight end on the connections they have, as they do
#           after a new token.
# Observed: a changed file closes every connection of the client at once. Files are looked at in every handshake and every five
#           minutes. Where a handshake finds the change, two kinds of requests fail: those in flight, and the one whose own new
#           connection is in that handshake, because it is closed with the others. The next request is answered.
# Matters:  a webhook call that fails while the certificate is renewed fails the creation of a pod under `failurePolicy: Fail`,
#           though the webhook is well; the shorter the certificate lives, the more often.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >go.mod <<'MOD'
module finding

go 1.26

require k8s.io/client-go v0.37.2
MOD
cat >main.go <<'GO'
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// renew writes a certificate of its own with a number.
func renew(number int64) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: "caller"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	encoded, err := x509.MarshalECPrivateKey(key)
	check(err)
	check(os.WriteFile("tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	check(os.WriteFile("tls.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), 0o600))
}

func main() {
	arrived, goOn := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-goOn
		}
		fmt.Fprint(w, r.TLS.PeerCertificates[0].SerialNumber)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()

	renew(1)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	// HTTP/1.1, as webhooks are called.
	client, err := rest.HTTPClientFor(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{
		CertFile: "tls.crt", KeyFile: "tls.key", CAData: ca, NextProtos: []string{"http/1.1"},
	}})
	check(err)
	post := func(path string) string {
		answer, err := client.Post(server.URL+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			return "failed, " + err.Error()[strings.LastIndex(err.Error(), ": ")+2:]
		}
		defer answer.Body.Close()
		var number int
		fmt.Fscan(answer.Body, &number)
		return fmt.Sprintf("answered, with certificate %d", number)
	}
	slow := make(chan string)
	go func() { slow <- post("/slow") }()
	<-arrived
	renew(2)
	// The files are looked at once a second at most.
	time.Sleep(2 * time.Second)
	// A second request at the same time makes a second connection.
	fmt.Println("first connection after the renewal:", post("/"))
	fmt.Println("second connection after the renewal:", post("/"))
	select {
	case outcome := <-slow:
		fmt.Println("in flight during the renewal:", outcome)
	case <-time.After(10 * time.Second):
		fmt.Println("in flight during the renewal: still waiting")
	}
	close(goOn)
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run . 2>/dev/null) <<'WANTED'
first connection after the renewal: failed, use of closed network connection
second connection after the renewal: answered, with certificate 2
in flight during the renewal: failed, use of closed network connection
WANTED
echo "as observed: client-go v0.37.2 ends requests in flight when its client certificate is renewed"

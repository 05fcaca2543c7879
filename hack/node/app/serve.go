package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

type server struct {
	host    string
	started time.Time
	// Whether probes and /metrics are answered with 503.
	down atomic.Bool
	// The content type of /metrics.
	openMetrics bool
}

// serve answers HTTP/1 and HTTP/2 without TLS on one port, gRPC's health service too; HTTPS and a TCP echo on others.
func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	bind := flags.String("bind", "", "the address to listen on")
	port := flags.Int("port", 8080, "where HTTP is served")
	secure := flags.Int("tls", 0, "where HTTPS is served, with a certificate made here")
	echo := flags.Int("tcp", 0, "where a TCP echo is served")
	first := flags.String("first", "", "a URL to get once before serving; the answer is logged")
	after := flags.Duration("after", 0, "how long to wait before serving")
	openMetrics := flags.Bool("openmetrics", false, "/metrics is in the OpenMetrics format")
	flags.Parse(arguments)
	if *first != "" {
		get([]string{"-timeout", "2s", *first})
	}
	time.Sleep(*after)
	host, err := os.Hostname()
	must(err)
	s := &server{host: host, started: time.Now(), openMetrics: *openMetrics}
	if *echo != 0 {
		go serveEcho(fmt.Sprintf("%s:%d", *bind, *echo))
	}
	if *secure != 0 {
		go s.serveTLS(fmt.Sprintf("%s:%d", *bind, *secure))
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Server{Addr: fmt.Sprintf("%s:%d", *bind, *port), Handler: s, Protocols: &protocols}
	done := make(chan struct{})
	go func() {
		<-stopped()
		fmt.Println("stopping")
		// Requests in flight are finished; the grace period of the pod may be shorter.
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		plain.Shutdown(end)
		close(done)
	}()
	fmt.Println("serving on", plain.Addr)
	if err := plain.ListenAndServe(); err != http.ErrServerClosed {
		must(err)
	}
	<-done
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		fmt.Println(r.Method, r.URL.Path, r.Proto, "from", r.RemoteAddr, "probe", r.Header.Get("X-Probe"), "tls", r.TLS != nil)
	}()
	switch r.URL.Path {
	case "/grpc.health.v1.Health/Check":
		// HealthCheckResponse{status: SERVING}, without the machinery of gRPC.
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write([]byte{0, 0, 0, 0, 2, 8, 1})
		w.Header().Set("Grpc-Status", "0")
		return
	case "/down":
		s.down.Store(true)
	case "/up":
		s.down.Store(false)
	case "/ready", "/metrics":
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
	case "/slow":
		fmt.Println("begun", r.URL.Path)
		wait, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(wait)
	}
	if r.URL.Path == "/metrics" {
		if s.openMetrics {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
			fmt.Fprint(w, "# TYPE app_up gauge\napp_up 1\n# EOF\n")
		} else {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			fmt.Fprint(w, "# TYPE app_up gauge\napp_up 1\n")
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"host": s.host, "remote": r.RemoteAddr, "path": r.URL.Path, "protocol": r.Proto, "tls": r.TLS != nil, "headers": r.Header,
	})
}

func (s *server) serveTLS(address string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: s.started.Add(-time.Hour), NotAfter: s.started.Add(24 * time.Hour), DNSNames: []string{s.host},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	must((&http.Server{Addr: address, Handler: s, TLSConfig: config}).ListenAndServeTLS("", ""))
}

func serveEcho(address string) {
	listener, err := net.Listen("tcp", address)
	must(err)
	for {
		connection, err := listener.Accept()
		must(err)
		go func() {
			defer connection.Close()
			io.Copy(connection, connection)
		}()
	}
}

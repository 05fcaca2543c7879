// A gRPC server and a client of it without a proxy: both are configured by xDS, from the bootstrap file that the templates
// grpc-agent and grpc-simple leave in GRPC_XDS_BOOTSTRAP.
//
//	grpc serve PORT      gRPC's health service; answers carry the identity of the caller
//	grpc get TARGET      one call of it, such as xds:///server.mesh.svc.cluster.local:7070; prints what it was told
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"
)

const caller = "caller"

func main() {
	if len(os.Args) == 3 {
		var err error
		switch os.Args[1] {
		case "serve":
			err = serve(os.Args[2])
		case "get":
			err = get(os.Args[2])
		default:
			err = fmt.Errorf("found %s; accepted are serve and get", os.Args[1])
		}
		if err == nil {
			return
		}
		fmt.Println("ERROR", err)
		os.Exit(7)
	}
	fmt.Fprintln(os.Stderr, "grpc serve PORT, or grpc get TARGET")
	os.Exit(2)
}

// identity is the URI of a peer's certificate, or "nobody" without one.
func identity(ctx context.Context) string {
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 && len(info.State.PeerCertificates[0].URIs) > 0 {
			return info.State.PeerCertificates[0].URIs[0].String()
		}
	}
	return "nobody"
}

func serve(port string) error {
	// xDS decides about TLS; if it says nothing, there is none.
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	tell := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs(caller, identity(ctx))); err != nil {
			return nil, err
		}
		return handler(ctx, request)
	}
	server, err := xds.NewGRPCServer(grpc.Creds(creds), grpc.UnaryInterceptor(tell))
	if err != nil {
		return err
	}
	healthpb.RegisterHealthServer(server, health.NewServer())
	// istiod configures a listener by its address, so it must be the pod's.
	listener, err := net.Listen("tcp4", net.JoinHostPort(os.Getenv("INSTANCE_IP"), port))
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		server.Stop()
	}()
	fmt.Println("serving on", listener.Addr())
	return server.Serve(listener)
}

func get(target string) error {
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var header metadata.MD
	var server peer.Peer
	answer, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true), grpc.Header(&header), grpc.Peer(&server))
	if err != nil {
		return err
	}
	fmt.Println(answer.GetStatus(), "caller", header.Get(caller), "server", identity(peer.NewContext(ctx, &server)), "at", server.Addr)
	return nil
}

// The application of the pods on the test node, and the pause of their sandboxes: a server that says who called it, a
// client that prints the answer, and a load generator that counts.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const usage = `app serve [FLAGS]           HTTP, HTTPS, gRPC health and a TCP echo
app get [FLAGS] URL...      one request each; tcp://HOST:PORT sends a line and reads it back
app load [FLAGS] URL        requests at a rate, and a summary as JSON
app sleep DURATION          ends with success after it
app true                    ends with success
`

func main() {
	command, arguments := filepath.Base(os.Args[0]), os.Args[1:]
	if command == "app" && len(arguments) > 0 {
		command, arguments = arguments[0], arguments[1:]
	}
	switch command {
	case "pause":
		<-stopped()
	case "serve":
		serve(arguments)
	case "get":
		os.Exit(get(arguments))
	case "load":
		load(arguments)
	case "sleep":
		wait, err := time.ParseDuration(arguments[0])
		must(err)
		time.Sleep(wait)
	case "true":
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

// stopped tells when the process is asked to end.
func stopped() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

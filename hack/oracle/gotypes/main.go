// Command gotypes writes the type tables of crates/injector and crates/istio-config and their fixture from the Go types themselves.
//
//	go run . kubernetes > ../../../crates/injector/src/gotypes/kubernetes.rs
//	go run . decoding   > ../../../crates/injector/src/gotypes/decoding.rs
//	go run . istio      > ../../../crates/istio-config/src/gotypes.rs
//	go run . unions     > ../../../crates/injector/src/gotypes/unions.rs
//	go run . fixture    > ../../../crates/injector/tests/fixtures/gotypes.json
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gotypes kubernetes|decoding|istio|unions|fixture")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "kubernetes":
		kubernetesTables(os.Stdout)
	case "decoding":
		decodingTables(os.Stdout)
	case "istio":
		istioTables(os.Stdout)
	case "unions":
		unionTable(os.Stdout)
	case "fixture":
		fixture(os.Stdout)
	default:
		fmt.Fprintf(os.Stderr, "unknown output %q: kubernetes, decoding, istio, unions or fixture\n", os.Args[1])
		os.Exit(2)
	}
}

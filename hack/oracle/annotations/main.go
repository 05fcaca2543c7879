// Command annotations prints what Go's own parsers say about texts that appear as annotation values and node versions, and
// which annotations and labels Istio's API knows.
//
//	go run . > ../../../crates/injector/tests/fixtures/annotations.json
//
// The corpus is corpus.json. Each kind maps a text to what the parser of that kind answers: null for a refusal.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"strconv"
	"strings"

	goversion "github.com/hashicorp/go-version"
	"istio.io/api/annotation"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/api/resource"
)

//go:embed corpus.json
var corpus []byte

// answers of one parser: true or a number for an accepted text, nil for a refused one.
var parsers = map[string]func(string) any{
	"quantity": func(text string) any {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return nil
		}
		return quantity.Sign()
	},
	// The amount in nano-units, as decimal text: the largest do not fit into a JSON number.
	"amount": func(text string) any {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return nil
		}
		exact := quantity.AsDec()
		nano := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(9-exact.Scale())), nil)
		return nano.Mul(nano, exact.UnscaledBig()).String()
	},
	"bool": func(text string) any {
		value, err := strconv.ParseBool(text)
		return orNil(value, err)
	},
	"prefix": func(text string) any {
		_, err := netip.ParsePrefix(text)
		return orNil(true, err)
	},
	"uint32": func(text string) any {
		value, err := strconv.ParseUint(text, 10, 32)
		return orNil(value, err)
	},
	"port": func(text string) any {
		value, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
		return orNil(value, err)
	},
	"integer": func(text string) any {
		value, err := strconv.Atoi(text)
		return orNil(value, err)
	},
	"minor": func(text string) any {
		version, err := goversion.NewVersion(text)
		if err != nil {
			return nil
		}
		return version.Segments()[1]
	},
	"block": func(text string) any {
		var start, second uint32
		separator := "-"
		if strings.Contains(text, "/") {
			separator = "/"
		}
		if _, err := fmt.Sscanf(text, "%d"+separator+"%d", &start, &second); err != nil {
			return nil
		}
		return []uint32{start, second}
	},
}

func orNil(value any, err error) any {
	if err != nil {
		return nil
	}
	return value
}

// istio are the annotations and labels that Istio's API knows, with the objects they are for.
func istio() map[string]any {
	annotations, labels := map[string][]string{}, map[string][]string{}
	for _, known := range annotation.AllResourceAnnotations() {
		for _, resource := range known.Resources {
			annotations[known.Name] = append(annotations[known.Name], resource.String())
		}
	}
	for _, known := range label.AllResourceLabels() {
		for _, resource := range known.Resources {
			labels[known.Name] = append(labels[known.Name], resource.String())
		}
	}
	return map[string]any{"annotations": annotations, "labels": labels}
}

func main() {
	var texts map[string][]string
	if err := json.Unmarshal(corpus, &texts); err != nil {
		panic(err)
	}
	out := map[string]map[string]any{}
	for kind, parse := range parsers {
		out[kind] = map[string]any{}
		for _, text := range texts[kind] {
			out[kind][text] = parse(text)
		}
	}
	out["istio"] = istio()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

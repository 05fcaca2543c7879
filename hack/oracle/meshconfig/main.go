// Command meshconfig writes crates/istio-config/tests/fixtures/meshconfig.json: how Go's libraries read the documents in corpus.txt,
// durations and addresses. Documents are read as Istio reads them: YAML to JSON, then the legacy jsonpb, once
// strictly and once with unknown fields allowed.
//
//	go run . > ../../../crates/istio-config/tests/fixtures/meshconfig.json
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/golang/protobuf/jsonpb"       //nolint:staticcheck // what Istio uses
	legacy "github.com/golang/protobuf/proto" //nolint:staticcheck // likewise
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"
	beta "istio.io/api/networking/v1beta1"
	"sigs.k8s.io/yaml"
)

//go:embed corpus.txt
var corpus string

type document struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	// Base is a document that was read before, Text is read over it.
	Base string `json:"base,omitempty"`
	Text string `json:"text"`
	// Value is the text as JSON; absent if it is no YAML.
	Value json.RawMessage `json:"value,omitempty"`
	// Canonical is the message as protojson; absent if it was refused.
	Canonical json.RawMessage `json:"canonical,omitempty"`
	Error     string          `json:"error,omitempty"`
	// Unknown: only accepted because unknown fields are allowed.
	Unknown bool `json:"unknown,omitempty"`
}

type duration struct {
	Text  string `json:"text"`
	Nanos *int64 `json:"nanos,omitempty"`
	Go    string `json:"go,omitempty"`
	Proto string `json:"proto,omitempty"`
}

type address struct {
	Text string `json:"text"`
	OK   bool   `json:"ok"`
}

func main() {
	out := struct {
		Documents []document `json:"documents"`
		Durations []duration `json:"durations"`
		Addresses []address  `json:"addresses"`
	}{documents(), durations(), addresses()}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

// documents reads the corpus: "=== Message: name" starts a document, "=== over" separates it from its base.
func documents() []document {
	var docs []document
	seen := map[string]bool{}
	for _, chunk := range strings.Split("\n"+corpus, "\n=== ")[1:] {
		if text, ok := strings.CutPrefix(chunk, "over\n"); ok {
			last := &docs[len(docs)-1]
			last.Base, last.Text = last.Text, text
			continue
		}
		head, text, _ := strings.Cut(chunk, "\n")
		message, name, ok := strings.Cut(head, ": ")
		if !ok || seen[head] {
			panic("bad or repeated head: " + head)
		}
		seen[head] = true
		docs = append(docs, document{Name: name, Message: message, Text: text})
	}
	for i := range docs {
		if docs[i].Text != "" {
			docs[i].Text = strings.TrimSuffix(docs[i].Text, "\n") + "\n"
		}
		docs[i].read()
	}
	return docs
}

func (d *document) empty() proto.Message {
	switch d.Message {
	case "MeshConfig":
		return &mesh.MeshConfig{}
	case "ProxyConfig":
		return &mesh.ProxyConfig{}
	case "beta.ProxyConfig":
		return &beta.ProxyConfig{}
	}
	panic("unknown message " + d.Message)
}

func (d *document) read() {
	js, err := yaml.YAMLToJSON([]byte(d.Text))
	if err != nil {
		d.Error = err.Error()
		return
	}
	d.Value = js
	over := func(tolerant bool) (proto.Message, error) {
		message := d.empty()
		if d.Base != "" {
			base, err := yaml.YAMLToJSON([]byte(d.Base))
			if err != nil {
				panic(d.Name + ": " + err.Error())
			}
			if err := jsonpb.Unmarshal(bytes.NewReader(base), legacy.MessageV1(message)); err != nil {
				panic(d.Name + ": " + err.Error())
			}
		}
		unmarshaler := jsonpb.Unmarshaler{AllowUnknownFields: tolerant}
		return message, unmarshaler.Unmarshal(bytes.NewReader(js), legacy.MessageV1(message))
	}
	message, err := over(false)
	if err != nil {
		if message, err = over(true); err != nil {
			d.Error = err.Error()
			return
		}
		d.Unknown = true
	}
	canonical, err := protojson.Marshal(message)
	if err != nil {
		d.Error = err.Error()
		return
	}
	printed, err := (&jsonpb.Marshaler{}).MarshalToString(legacy.MessageV1(message))
	if err != nil {
		panic(d.Name + ": " + err.Error())
	}
	if !reflect.DeepEqual(anyJSON(canonical), anyJSON([]byte(printed))) {
		panic(fmt.Sprintf("%s: protojson %s, jsonpb %s", d.Name, canonical, printed))
	}
	d.Canonical, err = json.Marshal(anyJSON(canonical))
	if err != nil {
		panic(err)
	}
}

func anyJSON(text []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		panic(err)
	}
	return value
}

func durations() []duration {
	texts := strings.Split("0|0s|1s|10s|1.5s|-1.5s|+5s|1h|1h30m|90m|2h45m30.25s|100ms|1us|1µs|1μs|1ns|999ns|1000ns|1500us|1.000000001s|"+
		".5s|5.s|1.s|.s|.|-|+|s|1|1.5|10|-0|+0|00|1S|1H|1d|1w|1 s| 1s|1s |1s1|1s1ms1us|1m1h|0.3333333333333333333h|"+
		"9007199254.740993s|9223372036854775807ns|9223372036854775808ns|-9223372036854775808ns|-9223372036854775809ns|"+
		"9223372036.854775807s|9223372036.854775808s|2562047h47m16.854775807s|2562047h47m16.854775808s|3000000h|"+
		"100000000000000000000ns|0.100000000000000000000h|0.830103483285477580700h|1e3s|1_000s|١s|--1s|-+1s|3.14159265358979s|"+
		"0.000000001s|0.0000000001s|1.0000s|60s|3600s|61s|3661s|59.999999999s|-0.5ns|0.5ns|1h0m0s|1h1ns|-1h1ns|1.1h|0.1us|"+
		"123ms456us|infinity|NaN|1.2.3s|1µ|1m30", "|")
	texts = append(texts, "")
	var out []duration
	for _, text := range texts {
		row := duration{Text: text}
		if d, err := time.ParseDuration(text); err == nil {
			nanos := d.Nanoseconds()
			row.Nanos, row.Go = &nanos, d.String()
			js, err := protojson.Marshal(durationpb.New(d))
			if err != nil {
				panic(err)
			}
			row.Proto = strings.Trim(string(js), `"`)
		}
		out = append(out, row)
	}
	return out
}

var label = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`)

func addresses() []address {
	texts := strings.Split("istiod.istio-system.svc:15012|istiod:15012|istiod.:15012|127.0.0.1:1|[::1]:80|::1:80|[::1]|[::1%eth0]:80|"+
		"host|host:|:80|host:0|host:65535|host:65536|host:-1|host:+80|host:http|host:80:90|a_b:80|-a:80|a-:80|a..b:80|.a:80|a.b.:80|"+
		"1.2.3.4:80|1.2.3:80|1.2.3.400:80|01.2.3.4:80|a.1:80|1a:80|1:80|[a]:80|[a:80|a]:80|[fe80::1]x:80|*.a:80|A.B:80|host:080|ü.de:80|"+
		"host :80|host: 80|[1.2.3.4]:80|[]:80|x."+strings.Repeat("a", 63)+":1|x."+strings.Repeat("a", 64)+":1|"+
		strings.Repeat("abcdefg.", 31)+"abcdefg:1|"+strings.Repeat("abcdefg.", 32)+"a:1", "|")
	texts = append(texts, "")
	var out []address
	for _, text := range texts {
		out = append(out, address{text, isAddress(text)})
	}
	return out
}

// isAddress: host:port where the host is a domain name or an IP address.
func isAddress(text string) bool {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	if port, err := strconv.Atoi(portText); err != nil || port < 1 || port > 65535 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return isDomain(host) || err == nil
}

func isDomain(host string) bool {
	if host == "" || len(host) > 255 {
		return false
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	if _, err := strconv.Atoi(last); err == nil {
		return false
	}
	for i, part := range labels {
		if i == len(labels)-1 && part == "" {
			return true
		}
		if len(part) > 63 || !label.MatchString(part) {
			return false
		}
	}
	return true
}

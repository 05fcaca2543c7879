// Writes crates/injector/tests/fixtures/pem.json: texts that look like PEM, and the blocks that Go's encoding/pem finds in them.
//
//	go run . [COUNT [SEED]] > ../../../crates/injector/tests/fixtures/pem.json
package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"strconv"
	"strings"
)

type block struct {
	Label   string `json:"label"`
	Headers bool   `json:"headers"`
	DER     []byte `json:"der"`
}

type example struct {
	Text   string  `json:"text"`
	Blocks []block `json:"blocks"`
}

// Possible lines, the likely ones first.
var lines = []string{
	"-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "YWJj", "AAECAwQF", "YWI=",
	"-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "",
	"  -----BEGIN CERTIFICATE-----", "  -----END CERTIFICATE-----", "\t-----BEGIN CERTIFICATE-----",
	"-----END CERTIFICATE----------BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE----", "-----BEGIN CERTIFICATE",
	"-----END CERTIFICATE----", "-----END CERTIFICATE----- x", "-----BEGIN -----", "-----END -----", "-----BEGIN-----",
	"Proc-Type: 4,ENCRYPTED", "a: b", ":", "subject=/CN=a", "# a comment", "YW Jj", "  YWJj", "YWJj\tYWJj", "YR==", "YWI",
	"YQ", "YW!j", "=", "\ufeff-----BEGIN CERTIFICATE-----", "-----BEGIN A-----B-----", "-----END A-----B-----",
	"---- BEGIN CERTIFICATE ----", "-----begin certificate-----", "x-----BEGIN CERTIFICATE-----",
}

var endInHeaders = regexp.MustCompile(`(?m)^-----END .*:`)

var ends = []string{"\n", "\n", "\n", "\n", "\n", "\r\n", " \n", "\t\r\n", "\r", "", "\n\n"}

func text(random *rand.Rand) string {
	var out strings.Builder
	count := 1 + random.Intn(9)
	for range count {
		pick := random.Intn(len(lines))
		if random.Intn(3) > 0 {
			pick = random.Intn(8)
		}
		end := ends[0]
		if random.Intn(4) == 0 {
			end = ends[random.Intn(len(ends))]
		}
		out.WriteString(lines[pick])
		out.WriteString(end)
	}
	return out.String()
}

func whole(random *rand.Rand) string {
	var out strings.Builder
	for range 1 + random.Intn(3) {
		label := []string{"CERTIFICATE", "CERTIFICATE", "PRIVATE KEY"}[random.Intn(3)]
		kind := &pem.Block{Type: label, Bytes: make([]byte, random.Intn(100))}
		random.Read(kind.Bytes)
		if random.Intn(5) == 0 {
			kind.Headers = map[string]string{"Proc-Type": "4,ENCRYPTED"}
		}
		encoded := string(pem.EncodeToMemory(kind))
		switch random.Intn(8) {
		case 0:
			encoded = strings.ReplaceAll(encoded, "\n", "\r\n")
		case 1:
			encoded = strings.TrimSpace(encoded)
		case 2:
			encoded = "  " + strings.ReplaceAll(encoded, "\n", "\n  ")
		case 3:
			encoded = text(random) + encoded
		case 4:
			cut := random.Intn(len(encoded))
			encoded = encoded[:cut] + encoded[cut+random.Intn(len(encoded)-cut):]
		}
		out.WriteString(encoded)
	}
	return out.String()
}

func main() {
	count, seed := 400, int64(1)
	for at, to := range []func(int64){func(n int64) { count = int(n) }, func(n int64) { seed = n }} {
		if len(os.Args) > at+1 {
			n, err := strconv.ParseInt(os.Args[at+1], 10, 64)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(64)
			}
			to(n)
		}
	}
	random := rand.New(rand.NewSource(seed))
	separator := "["
	for number := 0; number < count; number++ {
		written := text(random)
		if number%3 == 0 {
			written = whole(random)
		}
		// After an END line that is read as a header Decode finds nothing more in some versions of Go, and goes on in
		// others.
		if endInHeaders.MatchString(written) {
			count++
			continue
		}
		found := example{Text: written, Blocks: []block{}}
		rest := []byte(written)
		for {
			var one *pem.Block
			one, rest = pem.Decode(rest)
			if one == nil {
				break
			}
			found.Blocks = append(found.Blocks, block{one.Type, len(one.Headers) > 0, one.Bytes})
		}
		encoded, err := json.Marshal(found)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n%s", separator, encoded)
		separator = ","
	}
	fmt.Println("\n]")
}

package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

func newClient(timeout time.Duration) *http.Client {
	// The server makes its own certificate.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 64}
	return &http.Client{Timeout: timeout, Transport: transport}
}

// get makes one request per URL and prints status and body. It ends at the first failure: with 22 for an answer other
// than 200, with 7 for no answer.
func get(arguments []string) int {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	timeout := flags.Duration("timeout", 5*time.Second, "for one request")
	host := flags.String("host", "", "the Host header")
	flags.Parse(arguments)
	client := newClient(*timeout)
	for _, url := range flags.Args() {
		if address, found := strings.CutPrefix(url, "tcp://"); found {
			if err := exchange(address, *timeout); err != nil {
				fmt.Println("ERROR", err)
				return 7
			}
			fmt.Println("200", url)
			continue
		}
		request, err := http.NewRequest("GET", url, nil)
		must(err)
		request.Host = *host
		answer, err := client.Do(request)
		if err != nil {
			fmt.Println("ERROR", err)
			return 7
		}
		body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		answer.Body.Close()
		if err != nil {
			fmt.Println("ERROR", err)
			return 7
		}
		fmt.Printf("%d %s\n%s\n", answer.StatusCode, url, strings.TrimSpace(string(body)))
		if answer.StatusCode != http.StatusOK {
			return 22
		}
	}
	return 0
}

// exchange sends a line and reads it back.
func exchange(address string, timeout time.Duration) error {
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(timeout))
	const line = "hello\n"
	if _, err := io.WriteString(connection, line); err != nil {
		return err
	}
	back := make([]byte, len(line))
	if _, err := io.ReadFull(connection, back); err != nil {
		return err
	}
	if string(back) != line {
		return fmt.Errorf("sent %q, and %q came back", line, back)
	}
	return nil
}

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// load sends requests at a fixed rate, however slow the answers are, until standard input ends. It prints the number of
// answers by status.
func load(arguments []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	timeout := flags.Duration("timeout", 10*time.Second, "for one request")
	rate := flags.Int("rate", 100, "requests a second")
	duration := flags.Duration("for", 2*time.Minute, "how long to send requests, unless standard input ends before")
	method := flags.String("method", "GET", "the method")
	flags.Parse(arguments)
	client := newClient(*timeout)
	var group sync.WaitGroup
	var lock sync.Mutex
	counts, first := map[string]int{}, map[string]string{}
	count := func(kind, example string) {
		lock.Lock()
		defer lock.Unlock()
		if counts[kind]++; counts[kind] == 1 {
			first[kind] = time.Now().UTC().Format("15:04:05.000 ") + example
		}
	}
	told := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(told)
	}()
	end := time.After(*duration)
	ticker := time.NewTicker(time.Second / time.Duration(*rate))
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-told:
			running = false
			continue
		case <-end:
			running = false
			continue
		case <-ticker.C:
		}
		group.Go(func() {
			request, err := http.NewRequest(*method, flags.Arg(0), nil)
			must(err)
			answer, err := client.Do(request)
			if err != nil {
				count("error", err.Error())
				return
			}
			body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
			answer.Body.Close()
			if err != nil {
				count("error", err.Error())
				return
			}
			count(fmt.Sprint(answer.StatusCode), strings.TrimSpace(string(body)))
		})
	}
	group.Wait()
	delete(first, "200")
	text, err := json.Marshal(map[string]any{"counts": counts, "first": first})
	must(err)
	fmt.Println(string(text))
}

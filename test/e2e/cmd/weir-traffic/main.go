// SPDX-License-Identifier: Apache-2.0

// Command weir-traffic is what the pods of the tests run: see package traffic.
// Flags are few, so that the first call follows the start of the process.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const usage = `weir-traffic run [-every D] [-for D] [-call KIND=ADDRESS:PORT]...   call, serve and count
weir-traffic probe KIND=ADDRESS:PORT...                              call each once; the results in JSON
weir-traffic get URL                                                 fetch a page, e.g. a process's totals
weir-traffic proxy FOLDER URL                                        serve TLS with a folder's certificate, hand requests to a backend
weir-traffic lookup NAME                                             ask the DNS
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir-traffic:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "run":
		return run(ctx, args[1:])
	case len(args) > 1 && args[0] == "probe":
		return probe(args[1:])
	case len(args) == 2 && args[0] == "get":
		return get(ctx, args[1])
	case len(args) == 3 && args[0] == "proxy":
		backend, err := url.Parse(args[2])
		if err != nil {
			return err
		}
		return traffic.Proxy(ctx, traffic.PortProxy, args[1], backend)
	case len(args) == 2 && args[0] == "lookup":
		return lookup(ctx, args[1])
	}
	return fmt.Errorf("unknown command %q; there are:\n%s", args, usage)
}

func run(ctx context.Context, args []string) error {
	var o traffic.Options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.DurationVar(&o.Every, "every", 50*time.Millisecond, "from one call of a target to the next")
	flags.DurationVar(&o.For, "for", 0, "end after this time; 0: when told to")
	flags.Func("call", "a target, KIND=ADDRESS:PORT; may be repeated", func(text string) error {
		target, err := traffic.ParseTarget(text)
		o.Targets = append(o.Targets, target)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	totals, err := traffic.Run(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(totals)
}

func probe(args []string) error {
	var targets []traffic.Target
	for _, text := range args {
		target, err := traffic.ParseTarget(text)
		if err != nil {
			return err
		}
		targets = append(targets, target)
	}
	return json.NewEncoder(os.Stdout).Encode(traffic.Probe(targets))
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

func lookup(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	for _, a := range addresses {
		fmt.Println(a)
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

// Command demo shows weir's main job on a small node made of network
// namespaces: `make demo`. Everything that it makes is removed at its end,
// also after ^C, unless KEEP=1.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes network namespaces and loads BPF programs; run it with sudo")
	}
	bin := os.Getenv("WEIR_BIN")
	if bin == "" {
		return errors.New("WEIR_BIN is not set: run `make demo`, which builds the binaries and names their folder")
	}
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return err
	}
	d := &demo{bin: bin, dir: dir}
	defer func() {
		if os.Getenv("KEEP") == "1" && ctx.Err() == nil {
			d.tellHowToAttach()
			<-ctx.Done()
		}
		err = errors.Join(err, d.close())
	}()
	if err := d.build(); err != nil {
		return fmt.Errorf("make the node: %w", err)
	}
	if err := d.startAgent(ctx); err != nil {
		return err
	}
	if err := d.startObserve(ctx); err != nil {
		return err
	}
	return d.tell(ctx)
}

func (d *demo) tellHowToAttach() {
	fmt.Printf(`
KEEP=1: the node and its agent stay until ^C. From another terminal, as root:

  %[1]s/weir --socket %[2]s/agent.sock observe -f
  %[1]s/weir --socket %[2]s/agent.sock explain shop/frontend shop/my-app --port 8080
  edit %[2]s/manifests/policies.yaml, and send traffic:
  nsenter --net=/run/netns/demo-frontend bash -c 'echo hello > /dev/tcp/10.244.1.11/8080'
`, d.bin, d.dir)
}

// deadline of one expectation; a machine with nothing to spare needs some.
const deadline = 5 * time.Second

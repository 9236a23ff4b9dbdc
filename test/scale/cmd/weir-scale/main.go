// SPDX-License-Identifier: Apache-2.0

// Command weir-scale measures the agent in a large cluster of fake nodes and
// pods, and what agents cost the API server, and makes a page of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/record"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir-scale:", err)
		os.Exit(1)
	}
}

// lengths of what is measured.
type lengths struct {
	rest    time.Duration
	churn   time.Duration
	clients time.Duration // of each of the phases with and without clients
	limit   time.Duration // of all
}

// options of a run.
type options struct {
	plan    load.Plan
	lengths lengths
	clients int
	bin     string
	stages  string
	root    string // of the repository
	state   string
	keep    string // folder for the logs
	commit  string
	result  string
	page    string
}

func run(ctx context.Context, args []string) error {
	klog.SetOutput(os.Stderr)
	o := options{plan: load.Defaults()}
	fs := flag.NewFlagSet("weir-scale", flag.ContinueOnError)
	fs.IntVar(&o.plan.Nodes, "nodes", o.plan.Nodes, "fake nodes")
	fs.IntVar(&o.plan.Pods, "pods", o.plan.Pods, "pods of the whole cluster")
	fs.IntVar(&o.plan.Policies, "policies", o.plan.Policies, "policies")
	fs.IntVar(&o.plan.Namespaces, "namespaces", o.plan.Namespaces, "namespaces; each has a local pod")
	fs.IntVar(&o.plan.Local, "local", o.plan.Local, "pods of the node under test, in network namespaces")
	fs.IntVar(&o.plan.Rate, "rate", o.plan.Rate, "pods created, and as many deleted, each second")
	fs.DurationVar(&o.lengths.rest, "rest", 30*time.Second, "how long the agent at rest is measured")
	fs.DurationVar(&o.lengths.churn, "churn", 5*time.Minute, "how long the agent is measured while pods come and go")
	fs.DurationVar(&o.lengths.clients, "clients-for", time.Minute, "how long the API server is measured, at rest and with churn, without and with clients")
	fs.DurationVar(&o.lengths.limit, "limit", time.Hour, "the run ends with an error after this time")
	fs.IntVar(&o.clients, "clients", 200, "bare watch clients; 0 leaves them out")
	fs.StringVar(&o.bin, "bin", ".bin", "folder of weir-agent, weir, weir-cluster and kwok")
	fs.StringVar(&o.stages, "stages", "", "kwok's stages: kustomize/stage in its module")
	fs.StringVar(&o.root, "root", ".", "the repository")
	fs.StringVar(&o.state, "state", "/var/lib/weir-scale", "folder for what is written meanwhile; it is removed")
	fs.StringVar(&o.keep, "logs", ".bin/scale/log", "where the processes' logs are left")
	fs.StringVar(&o.commit, "commit", "unknown", "of the binaries, for the page")
	fs.StringVar(&o.result, "result", ".bin/scale/result.json", "the figures")
	fs.StringVar(&o.page, "page", "", "make this page of -result, and measure nothing")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if o.page != "" {
		return writePage(o.result, o.page)
	}
	if err := o.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.lengths.limit, fmt.Errorf("the run did not end within %s", o.lengths.limit))
	defer cancel()
	result, err := measureAll(ctx, o)
	if err != nil {
		return err
	}
	return result.Save(o.result)
}

func (o *options) check() error {
	errs := []error{o.plan.Validate()}
	for name, length := range map[string]time.Duration{"rest": o.lengths.rest, "churn": o.lengths.churn, "clients-for": o.lengths.clients} {
		if length < time.Second {
			errs = append(errs, fmt.Errorf("-%s is %s; measure for a second at least", name, length))
		}
	}
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("needs root: makes network namespaces and loads BPF programs"))
	}
	for _, p := range []*string{&o.bin, &o.stages, &o.root, &o.state} {
		var err error
		*p, err = filepath.Abs(*p)
		errs = append(errs, err)
	}
	for _, program := range []string{"weir-agent", "weir", "weir-cluster", "kwok"} {
		if _, err := os.Stat(filepath.Join(o.bin, program)); err != nil {
			errs = append(errs, fmt.Errorf("%w; make scale builds it", err))
		}
	}
	if _, err := os.Stat(filepath.Join(o.stages, "pod/fast/pod-ready.yaml")); err != nil {
		errs = append(errs, fmt.Errorf("-stages: %w; name kustomize/stage in the folder of the module sigs.k8s.io/kwok", err))
	}
	return errors.Join(errs...)
}

func writePage(result, page string) error {
	r, err := record.Load(result)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(r.Page()), 0o644)
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/weirnet/weir/policy"
)

// Kubernetes is the Source that watches the API server. While the server is
// away the last state stays as it is; Connection tells so, and Health does not:
// what was applied goes on to hold.
//
// Objects of the API become those of the model as they arrive and are not
// kept, but for Services and EndpointSlices, which are joined.
type Kubernetes struct {
	opts KubernetesOptions
	log  *slog.Logger
	line *line
	desk *desk
	report
}

var _ Source = (*Kubernetes)(nil)

// NewKubernetes takes the options with their defaults. The error is that of
// Validate.
func NewKubernetes(opts KubernetesOptions, log *slog.Logger) (*Kubernetes, error) {
	opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	var names []string
	for _, f := range feeds(opts.Client, opts.Node) {
		names = append(names, f.name)
	}
	return &Kubernetes{
		opts: opts, log: log,
		line:   newLine(opts, names, log),
		desk:   newDesk(opts, names),
		report: report{log: log, now: opts.Now, what: "an object"},
	}, nil
}

// Problems are those of now, sorted by object.
func (k *Kubernetes) Problems() []Problem { return k.report.problems() }

// Health is nil once the first lists are complete and everything in them can
// be enforced.
func (k *Kubernetes) Health() error {
	missing := k.desk.unlisted()
	if len(missing) == 0 {
		return k.report.health()
	}
	if err := k.line.state().Err; err != nil {
		return fmt.Errorf("the first lists are not complete: %w", err)
	}
	return fmt.Errorf("the first lists are not complete: waiting for %s", strings.Join(missing, ", "))
}

// Connection says how the API server is reached.
func (k *Kubernetes) Connection() Connection {
	c := k.line.state()
	c.LastEvent = k.desk.lastEvent()
	return c
}

// Run sends batches until ctx ends, then closes out. It never fails: an API
// server that does not answer is tried again.
func (k *Kubernetes) Run(ctx context.Context, out chan<- policy.Batch) error {
	defer close(out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if k.opts.Jitter > 0 && !pause(ctx, rand.N(k.opts.Jitter)) {
		return nil
	}
	// The library tells each failed try as an error; line tells the log once.
	quiet := logr.FromSlogHandler(debugOnly{k.log.Handler()})
	ctx = klog.NewContext(ctx, quiet)
	var reflectors sync.WaitGroup
	for _, f := range feeds(k.opts.Client, k.opts.Node) {
		r := cache.NewReflectorWithOptions(k.line.through(f), f.example, &shelf{desk: k.desk, feed: f},
			cache.ReflectorOptions{Name: f.name, Logger: &quiet, Backoff: k.opts.backoff()})
		reflectors.Go(func() { r.RunWithContext(ctx) })
	}
	k.follow(ctx, out)
	cancel()
	reflectors.Wait()
	return nil
}

func (k *Kubernetes) follow(ctx context.Context, out chan<- policy.Batch) {
	first := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.desk.wake:
		}
		if !pause(ctx, k.opts.Gather) {
			return
		}
		b, empty := k.desk.take()
		if first && !b.Synced {
			continue
		}
		k.report.set(k.desk.problems())
		k.report.sync()
		if empty && !first {
			continue
		}
		first = false
		if !send(ctx, out, b) {
			return
		}
	}
}

func (o *KubernetesOptions) backoff() *wait.Backoff {
	return &wait.Backoff{Duration: o.Backoff / 32, Cap: o.Backoff, Steps: 6, Factor: 2, Jitter: 1}
}

// pause reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// debugOnly makes every record one for debugging.
type debugOnly struct{ slog.Handler }

func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h debugOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugOnly{h.Handler.WithAttrs(attrs)}
}

func (h debugOnly) WithGroup(name string) slog.Handler {
	return debugOnly{h.Handler.WithGroup(name)}
}

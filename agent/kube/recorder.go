// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// Component is the source of the events.
const Component = "weir-agent"

// Reasons of events.
const (
	ReasonDenied        = "FlowDenied"
	ReasonUnenforceable = "PolicyNotEnforceable"
	ReasonUnusable      = "PolicyUnusable"
)

// Object is what an event is about. The UID is needed: kubectl describe shows
// the events of one object, not of all that had its name.
type Object struct {
	Kind, APIVersion     string
	Namespace, Name, UID string
}

// Pod names a pod.
func Pod(namespace, name, uid string) Object {
	return Object{Kind: "Pod", APIVersion: "v1", Namespace: namespace, Name: name, UID: uid}
}

// NetworkPolicy names a policy.
func NetworkPolicy(namespace, name, uid string) Object {
	return Object{Kind: "NetworkPolicy", APIVersion: "networking.k8s.io/v1", Namespace: namespace, Name: name, UID: uid}
}

// RecorderOptions configure a Recorder. A limit is a burst, and the time in
// which one more comes to it.
type RecorderOptions struct {
	Client kubernetes.Interface
	Node   string // shown as the events' host
	Log    *slog.Logger

	ObjectBurst int // events about one object
	ObjectEvery time.Duration
	Burst       int // events of this node
	Every       time.Duration
	// Repeat is how long the same text about the same object is not written
	// again.
	Repeat time.Duration
	// Objects bounds those of whom limits are kept; what comes beyond is not
	// written.
	Objects int
	Now     func() time.Time // nil is time.Now
}

// Defaults fills what is zero, except Client, Node and Log. With them a
// thousand nodes that all deny all the time write a hundred events a second.
func (o *RecorderOptions) Defaults() {
	count := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	span := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	count(&o.ObjectBurst, 3)
	span(&o.ObjectEvery, 2*time.Minute)
	count(&o.Burst, 20)
	span(&o.Every, 10*time.Second)
	span(&o.Repeat, 10*time.Minute)
	count(&o.Objects, 4096)
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate says what is wrong, all at once.
func (o *RecorderOptions) Validate() error {
	var errs []error
	if o.Client == nil || o.Log == nil || o.Node == "" {
		errs = append(errs, errors.New("recorder of events: client, log and node must be given"))
	}
	for name, n := range map[string]int64{
		"burst of an object": int64(o.ObjectBurst), "time of an object": int64(o.ObjectEvery), "burst": int64(o.Burst),
		"time": int64(o.Every), "time of repeats": int64(o.Repeat), "number of objects": int64(o.Objects),
	} {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("recorder of events: the %s is not above zero", name))
		}
	}
	return errors.Join(errs...)
}

// Recorder writes Kubernetes events within limits, and never holds up who
// tells it something. A nil Recorder writes nothing.
type Recorder struct {
	opts  RecorderOptions
	queue chan told

	written, withheld atomic.Uint64

	mu      sync.Mutex
	all     *rate.Limiter
	budgets map[Object]*budget
	swept   time.Time
}

type told struct {
	object       Object
	reason, text string
}

// budget of one object.
type budget struct {
	limit *rate.Limiter
	texts map[string]time.Time // when each was written last
	used  time.Time
}

// NewRecorder takes the options with their defaults. The error is that of
// Validate.
func NewRecorder(opts RecorderOptions) (*Recorder, error) {
	opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	return &Recorder{
		opts: opts, queue: make(chan told, 64),
		all:     rate.NewLimiter(rate.Every(opts.Every), opts.Burst),
		budgets: make(map[Object]*budget),
	}, nil
}

// Denied tells of a denied flow of a pod. The text is asked for only if it may
// be written: denials can come by the thousand.
func (r *Recorder) Denied(pod Object, text func() string) { r.tell(pod, ReasonDenied, text) }

// Unenforceable tells of a pod on which policy cannot be enforced.
func (r *Recorder) Unenforceable(pod Object, why string) {
	r.tell(pod, ReasonUnenforceable, func() string { return why })
}

// Unusable tells of a policy that cannot be used, or not all of it. Of the
// nodes that find so, one writes the event.
func (r *Recorder) Unusable(policy Object, why string) {
	r.tell(policy, ReasonUnusable, func() string { return why })
}

// Counts are how many events were given to the API server's client, and how
// many were not, by the limits.
func (r *Recorder) Counts() (written, withheld uint64) {
	return r.written.Load(), r.withheld.Load()
}

func (r *Recorder) tell(o Object, reason string, text func() string) {
	if r == nil || o.UID == "" {
		return
	}
	said, ok := r.allow(o, text)
	if ok {
		select {
		case r.queue <- told{o, reason, said}:
			return
		default: // the API server is away
			r.withheld.Add(1)
		}
	}
}

func (r *Recorder) allow(o Object, text func() string) (string, bool) {
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	b := r.budgets[o]
	switch {
	case b == nil && len(r.budgets) >= r.opts.Objects:
		r.withheld.Add(1)
		return "", false
	case b == nil:
		b = &budget{limit: rate.NewLimiter(rate.Every(r.opts.ObjectEvery), r.opts.ObjectBurst), texts: make(map[string]time.Time)}
		r.budgets[o] = b
	}
	b.used = now
	if b.limit.TokensAt(now) < 1 || r.all.TokensAt(now) < 1 {
		r.withheld.Add(1)
		return "", false
	}
	said := text()
	if at, was := b.texts[said]; was && now.Sub(at) < r.opts.Repeat {
		r.withheld.Add(1)
		return "", false
	}
	b.texts[said] = now
	return said, b.limit.AllowN(now, 1) && r.all.AllowN(now, 1)
}

// sweep forgets objects of which nothing was told for so long that their
// limits are as those of new ones.
func (r *Recorder) sweep(now time.Time) {
	idle := max(r.opts.Repeat, time.Duration(r.opts.ObjectBurst)*r.opts.ObjectEvery)
	if now.Sub(r.swept) < idle/4 {
		return
	}
	r.swept = now
	for o, b := range r.budgets {
		if now.Sub(b.used) >= idle {
			delete(r.budgets, o)
		}
		for text, at := range b.texts {
			if now.Sub(at) >= r.opts.Repeat {
				delete(b.texts, text)
			}
		}
	}
}

// Run writes what is told until ctx ends. While the API server is away what
// does not fit in the queue is dropped.
func (r *Recorder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = klog.NewContext(ctx, logr.Discard()) // sink tells the log, and not each try
	broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
		// The library's own limits are set so wide that those of here count.
		QPS: 1, BurstSize: 100, LRUCacheSize: r.opts.Objects,
	}))
	broadcaster.StartRecordingToSink(&sink{ctx: ctx, client: r.opts.Client.CoreV1().Events(""), log: r.opts.Log})
	defer broadcaster.Shutdown()
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Component, Host: r.opts.Node})
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-r.queue:
			events.Event(&corev1.ObjectReference{
				Kind: t.object.Kind, APIVersion: t.object.APIVersion,
				Namespace: t.object.Namespace, Name: t.object.Name, UID: types.UID(t.object.UID),
			}, corev1.EventTypeWarning, t.reason, t.text)
			r.written.Add(1)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Connection is how an API server is reached.
type Connection struct {
	// Err is nil while every kind of object is watched. Else the last state
	// stays in force, and no change is seen.
	Err error
	// Since when that is so.
	Since time.Time
	// LastEvent is when the server told anything last, bookmarks included,
	// which it sends about once a minute. Zero: never.
	LastEvent time.Time
}

// feed is one kind of object and how it is asked for.
type feed struct {
	name    string // plural, for messages
	kind    kind   // unknownKind: the Node
	example runtime.Object
	list    func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch   func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func feeds(client kubernetes.Interface, node string) []feed {
	core := client.CoreV1()
	own := fields.OneTermEqualSelector(metav1.ObjectNameField, node).String()
	return []feed{
		feedOf("Namespaces", namespaceKind, &corev1.Namespace{}, core.Namespaces(), ""),
		feedOf("Pods", podKind, &corev1.Pod{}, core.Pods(""), ""),
		feedOf("NetworkPolicies", policyKind, &networkingv1.NetworkPolicy{}, client.NetworkingV1().NetworkPolicies(""), ""),
		feedOf("Services", serviceKind, &corev1.Service{}, core.Services(""), ""),
		feedOf("EndpointSlices", sliceKind, &discoveryv1.EndpointSlice{}, client.DiscoveryV1().EndpointSlices(""), ""),
		feedOf("Node "+node, unknownKind, &corev1.Node{}, core.Nodes(), own),
	}
}

func feedOf[L runtime.Object](name string, k kind, example runtime.Object, c lister[L], selector string) feed {
	return feed{
		name: name, kind: k, example: example,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return c.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return c.Watch(ctx, o)
		},
	}
}

// line knows which feeds the API server answers.
type line struct {
	opts  KubernetesOptions
	log   *slog.Logger
	feeds int

	mu      sync.Mutex
	failing map[string]failure // by the feed's name
	up      time.Time          // since when none is failing
	told    bool               // the log knows of the failure
}

type failure struct {
	since time.Time
	err   error
}

var errNoAnswer = errors.New("no answer yet")

func newLine(opts KubernetesOptions, names []string, log *slog.Logger) *line {
	l := &line{opts: opts, log: log, feeds: len(names), failing: make(map[string]failure)}
	for _, name := range names {
		l.failing[name] = failure{since: opts.Now(), err: errNoAnswer}
	}
	return l
}

// through asks for a feed, and takes note of the answers.
func (l *line) through(f feed) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := f.list(ctx, o)
			l.note(f.name, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return l.patiently(ctx, f, o)
		},
	}, l.opts.Client)
}

// patiently waits here while the server refuses connections or is overloaded.
// The reflector would wait as well, but without an eye on ctx, for a minute.
func (l *line) patiently(ctx context.Context, f feed, o metav1.ListOptions) (watch.Interface, error) {
	backoff := l.opts.backoff()
	for {
		w, err := f.watch(ctx, o)
		l.note(f.name, err)
		if !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err) {
			return w, err
		}
		if !pause(ctx, backoff.Step()) {
			return nil, ctx.Err()
		}
	}
}

func (l *line) note(name string, err error) {
	if errors.Is(err, context.Canceled) || answers(err) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old, was := l.failing[name]
	switch {
	case err == nil && was:
		delete(l.failing, name)
		if len(l.failing) > 0 {
			return
		}
		l.up = l.opts.Now()
		if l.told {
			l.told = false
			l.log.Info("the API server answers again", "server", l.opts.Server)
		}
	case err != nil:
		if !was {
			old.since = l.opts.Now()
		}
		l.failing[name] = failure{since: old.since, err: err}
		if !l.told {
			l.told = true
			l.log.Warn("the API server does not answer; the last good state stays in force", "server", l.opts.Server, "for", name, "error", withoutURL(err))
		}
	}
}

// answers: an error by which the server, which is there, wants to be asked in
// another way.
func answers(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// state of the line; LastEvent is not its matter.
func (l *line) state() Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failing) == 0 {
		return Connection{Since: l.up}
	}
	names := slices.Sorted(maps.Keys(l.failing))
	shown := l.failing[names[0]]
	c := Connection{Since: shown.since}
	for _, name := range names {
		f := l.failing[name]
		if f.since.Before(c.Since) {
			c.Since = f.since
		}
		if errors.Is(shown.err, errNoAnswer) { // any other says more
			shown = f
		}
	}
	what := strings.Join(names, ", ")
	if len(names) == l.feeds {
		what = "the cluster"
	}
	c.Err = fmt.Errorf("%s cannot be watched at %s since %s: %w",
		what, l.opts.Server, c.Since.UTC().Format(time.RFC3339), withoutURL(shown.err))
	return c
}

// withoutURL leaves out the request, whose many parameters hide the cause.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

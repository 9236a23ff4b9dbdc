// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

const patience = 10 * time.Second

var web = Pod("shop", "web", "u1")

type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func recorder(t *testing.T, client *fake.Clientset, change func(*RecorderOptions)) (*Recorder, *logged) {
	t.Helper()
	log := &logged{}
	opts := RecorderOptions{Client: client, Node: "n1", Log: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&opts)
	}
	r, err := NewRecorder(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r, log
}

func run(t *testing.T, r *Recorder) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func events(t *testing.T, client *fake.Clientset) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func says(text string) func() string { return func() string { return text } }

func TestEventIsWritten(t *testing.T) {
	client := fake.NewClientset()
	r, _ := recorder(t, client, nil)
	run(t, r)
	r.Denied(web, says("egress to data/db:5432 denied"))
	until(t, "an event", func() bool { return len(events(t, client)) == 1 })
	e := events(t, client)[0]
	about := corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: "shop", Name: "web", UID: "u1"}
	if e.InvolvedObject != about || e.Type != "Warning" || e.Reason != ReasonDenied || e.Message != "egress to data/db:5432 denied" ||
		e.Source != (corev1.EventSource{Component: Component, Host: "n1"}) || e.Count != 1 {
		t.Errorf("event %+v", e)
	}
	if written, withheld := r.Counts(); written != 1 || withheld != 0 {
		t.Errorf("written %d, withheld %d", written, withheld)
	}
}

// The rights that the agent has: create and patch. A repeat is a patch.
func TestRepeatIsAPatch(t *testing.T) {
	client := fake.NewClientset()
	r, _ := recorder(t, client, func(o *RecorderOptions) { o.Repeat = time.Nanosecond })
	run(t, r)
	r.Denied(web, says("denied"))
	until(t, "the event", func() bool { return len(events(t, client)) == 1 })
	time.Sleep(time.Microsecond) // past Repeat
	r.Denied(web, says("denied"))
	until(t, "the repeat", func() bool { return events(t, client)[0].Count == 2 })
	for _, action := range client.Actions() {
		if verb := action.GetVerb(); verb != "create" && verb != "patch" && verb != "list" { // list is this test
			t.Errorf("the verb %s was used", verb)
		}
	}
}

func TestUnusablePolicyIsToldOnceByAllNodes(t *testing.T) {
	client := fake.NewClientset()
	policy := NetworkPolicy("shop", "p", "u9")
	for _, node := range []string{"n1", "n2", "n3"} {
		r, log := recorder(t, client, func(o *RecorderOptions) { o.Node = node })
		run(t, r)
		r.Unusable(policy, "spec.ingress[0]: bad")
		until(t, "creation tried", func() bool { w, _ := r.Counts(); return w == 1 && len(events(t, client)) > 0 })
		if log.count("cannot be written") != 0 {
			t.Errorf("%s: taken for a failure", node)
		}
	}
	if list := events(t, client); len(list) != 1 || list[0].InvolvedObject.Kind != "NetworkPolicy" {
		t.Errorf("events %+v", list)
	}
}

func TestFailureIsLoggedOnce(t *testing.T) {
	client := fake.NewClientset()
	var mu sync.Mutex
	broken, tried := true, 0
	client.PrependReactor("create", "events", func(ktesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		tried++
		if broken {
			return true, nil, apierrors.NewForbidden(corev1.Resource("events"), "", nil)
		}
		return false, nil, nil
	})
	r, log := recorder(t, client, nil)
	run(t, r)
	for i := range 3 {
		r.Denied(web, says(fmt.Sprint("denied ", i)))
	}
	until(t, "three tries", func() bool { mu.Lock(); defer mu.Unlock(); return tried == 3 })
	mu.Lock()
	broken = false
	mu.Unlock()
	r.Denied(Pod("shop", "db", "u2"), says("denied"))
	until(t, "an event", func() bool { return len(events(t, client)) == 1 })
	until(t, "told", func() bool { return log.count("written again") == 1 })
	if n := log.count("cannot be written"); n != 1 {
		t.Errorf("told %d times: %s", n, log.text.String())
	}
}

func TestLimits(t *testing.T) {
	db := Pod("shop", "db", "u2")
	type call struct {
		after time.Duration
		about Object
		text  string
		ok    bool
	}
	for _, row := range []struct {
		name   string
		change func(*RecorderOptions)
		calls  []call
	}{
		{"one object", nil, []call{{0, web, "a", true}, {0, web, "b", true}, {0, web, "c", true}, {0, web, "d", false}, {2 * time.Minute, web, "d", true}, {0, web, "e", false}}},
		{"another object has its own", nil, []call{{0, web, "a", true}, {0, web, "b", true}, {0, web, "c", true}, {0, db, "a", true}, {0, web, "d", false}}},
		{"the same text", nil, []call{{0, web, "a", true}, {0, web, "a", false}, {9 * time.Minute, web, "a", false}, {2 * time.Minute, web, "a", true}}},
		{"a repeat costs nothing", nil, []call{{0, web, "a", true}, {0, web, "a", false}, {0, web, "a", false}, {0, web, "b", true}, {0, web, "c", true}}},
		{"the node's", func(o *RecorderOptions) { o.Burst = 2 }, []call{{0, web, "a", true}, {0, db, "b", true}, {0, db, "c", false}, {10 * time.Second, db, "c", true}}},
		{"a pod of the same name is another", func(o *RecorderOptions) { o.ObjectBurst = 1 }, []call{{0, web, "a", true}, {0, web, "b", false}, {0, Pod("shop", "web", "u7"), "a", true}}},
		{"too many objects", func(o *RecorderOptions) { o.Objects = 1 }, []call{{0, web, "a", true}, {0, db, "a", false}, {11 * time.Minute, db, "a", true}}},
		{"without a UID", nil, []call{{0, Pod("shop", "web", ""), "a", false}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			r, _ := recorder(t, fake.NewClientset(), func(o *RecorderOptions) {
				o.Now = func() time.Time { return now }
				if row.change != nil {
					row.change(o)
				}
			})
			for i, c := range row.calls {
				now = now.Add(c.after)
				before := len(r.queue)
				r.Denied(c.about, says(c.text))
				if ok := len(r.queue) > before; ok != c.ok {
					t.Errorf("call %d: told %v, want %v", i, ok, c.ok)
				}
			}
		})
	}
}

// Denials come by the thousand; their text is not made when it cannot be told,
// and nobody waits although nothing takes the events.
func TestDenialsCostLittleBeyondTheLimits(t *testing.T) {
	r, _ := recorder(t, fake.NewClientset(), nil)
	made := 0
	for range 10_000 {
		r.Denied(web, func() string { made++; return fmt.Sprint("denied ", made) })
	}
	for i := range 10_000 {
		r.Denied(Pod("shop", fmt.Sprint("p", i), fmt.Sprint(i)), func() string { made++; return "denied" })
	}
	if made > r.opts.Burst+1 {
		t.Errorf("%d texts were made", made)
	}
	if len(r.budgets) > r.opts.Objects {
		t.Errorf("%d objects are kept", len(r.budgets))
	}
	if _, withheld := r.Counts(); withheld != uint64(20_000-len(r.queue)) {
		t.Errorf("%d withheld, %d told", withheld, len(r.queue))
	}
}

func TestNobodyToTell(t *testing.T) {
	var r *Recorder
	r.Denied(web, func() string { t.Error("the text was made"); return "" })
	r.Unenforceable(web, "why")
	r.Unusable(NetworkPolicy("shop", "p", "u"), "why")
}

func TestLongTextIsCut(t *testing.T) {
	client := fake.NewClientset()
	r, _ := recorder(t, client, nil)
	run(t, r)
	r.Unenforceable(web, strings.Repeat("ä", 2000))
	until(t, "an event", func() bool { return len(events(t, client)) == 1 })
	if m := events(t, client)[0].Message; len(m) > longestNote || !utf8.ValidString(m) || !strings.HasSuffix(m, "ä...") {
		t.Errorf("%d bytes, ends in %q", len(m), m[len(m)-8:])
	}
}

func TestRecorderOptionsAreChecked(t *testing.T) {
	_, err := NewRecorder(RecorderOptions{ObjectBurst: -1, ObjectEvery: -1, Burst: -1, Every: -1, Repeat: -1, Objects: -1})
	for _, part := range []string{"client", "burst of an object", "time of an object", "the burst ", "the time ", "repeats", "number of objects"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

func TestConnect(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_SERVICE_PORT", "")
	if _, err := Connect("", "weir-agent/test"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("error %v", err)
	}
	if _, err := Connect("/nonexistent", "weir-agent/test"); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("error %v", err)
	}
}

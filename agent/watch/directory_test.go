// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

const patience = 10 * time.Second

// session runs a Source and applies its batches.
type session struct {
	t    *testing.T
	root string
	dir  Source
	stop func()
	log  *lines

	mu       sync.Mutex
	synced   bool
	batches  []policy.Batch
	arrived  []time.Time
	policies map[policy.ObjectKey]*policy.Policy
	pods     map[policy.ObjectKey]*policy.Pod
	services map[policy.ObjectKey]*policy.Service
	spaces   map[string]policy.Namespace
}

type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.text {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func start(t *testing.T, opts DirectoryOptions) *session {
	t.Helper()
	if opts.Rescan == 0 {
		opts.Rescan = time.Hour // notices alone must do
	}
	s := newSession(t)
	s.root = opts.Path
	d, err := NewDirectory(opts, s.logger())
	if err != nil {
		t.Fatal(err)
	}
	s.run(d)
	s.until("synced", func() bool { return s.synced })
	return s
}

func newSession(t *testing.T) *session {
	return &session{t: t, log: &lines{},
		policies: make(map[policy.ObjectKey]*policy.Policy), pods: make(map[policy.ObjectKey]*policy.Pod),
		services: make(map[policy.ObjectKey]*policy.Service), spaces: make(map[string]policy.Namespace)}
}

func (s *session) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.MultiWriter(s.log), nil))
}

func (s *session) run(source Source) {
	s.dir = source
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan policy.Batch)
	var done sync.WaitGroup
	done.Go(func() {
		for b := range out {
			s.apply(b)
		}
	})
	done.Go(func() {
		if err := source.Run(ctx, out); err != nil {
			s.t.Errorf("run: %v", err)
		}
	})
	s.stop = func() { cancel(); done.Wait() }
	s.t.Cleanup(s.stop)
}

func (s *session) apply(b policy.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = append(s.arrived, time.Now())
	s.batches = append(s.batches, b)
	s.synced = s.synced || b.Synced
	for _, n := range b.Namespaces {
		s.spaces[n.Name] = n
	}
	for _, n := range b.DeletedNamespaces {
		delete(s.spaces, n)
	}
	store := func(n int, do func(int)) {
		for i := range n {
			do(i)
		}
	}
	store(len(b.Policies), func(i int) { s.policies[b.Policies[i].ObjectKey] = b.Policies[i] })
	store(len(b.Pods), func(i int) { s.pods[b.Pods[i].ObjectKey] = b.Pods[i] })
	store(len(b.Services), func(i int) { s.services[b.Services[i].ObjectKey] = b.Services[i] })
	store(len(b.DeletedPolicies), func(i int) { delete(s.policies, b.DeletedPolicies[i]) })
	store(len(b.DeletedPods), func(i int) { delete(s.pods, b.DeletedPods[i]) })
	store(len(b.DeletedServices), func(i int) { delete(s.services, b.DeletedServices[i]) })
}

// until waits for a condition, which is evaluated under the lock.
func (s *session) until(what string, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		ok := holds()
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("not within %s: %s; policies %v, problems %v", patience, what, s.names(), s.dir.Problems())
		}
	}
}

// names are the policies in force, each with its first label value if any.
func (s *session) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namesLocked()
}

func (s *session) namesLocked() string {
	var out []string
	for _, key := range slices.SortedFunc(maps.Keys(s.policies), compareKeys) {
		name := key.Name
		if r := s.policies[key].Subjects.Requirements; len(r) > 0 {
			name += "=" + r[0].Values[0]
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func (s *session) untilNames(want string) {
	s.t.Helper()
	s.until("policies "+want, func() bool { return s.namesLocked() == want })
}

func (s *session) untilProblem(part string) {
	s.t.Helper()
	s.until("problem "+part, func() bool { return hasProblem(s.dir, part) })
}

func hasProblem(d Source, part string) bool {
	return slices.ContainsFunc(d.Problems(), func(p Problem) bool { return strings.Contains(p.String(), part) })
}

func (s *session) batchCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.batches)
}

// put replaces a file by rename, as doc.go asks for.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	temp := filepath.Join(dir, "."+filepath.Base(name)+".tmp")
	write(t, temp, text)
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// labelled is a policy whose version can be told from outside.
func labelled(name, version string) string {
	return policyText(name, "{matchLabels: {v: \""+version+"\"}}")
}

func TestFirstBatchHoldsEverything(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"+labelled("p", "1"))
	write(t, filepath.Join(dir, "sub", "deep", "b.yml"), "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {nodeName: n1}\nstatus: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}\n")
	write(t, filepath.Join(dir, "c.json"), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}}`)
	write(t, filepath.Join(dir, "d.yaml"), "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]\n")
	write(t, filepath.Join(dir, ".hidden.yaml"), labelled("hidden", "1"))
	write(t, filepath.Join(dir, "notes.txt"), "kind: [")
	s := start(t, DirectoryOptions{Path: dir})
	b := s.batches[0]
	if len(s.batches) != 1 || !b.Synced || len(b.Namespaces) != 1 || len(b.Policies) != 1 || len(b.Pods) != 1 || len(b.Services) != 1 {
		t.Fatalf("first batch: %+v", b)
	}
	if got := fmt.Sprint(b.Pods[0].IPs, b.Pods[0].Node, b.Services[0].Ports[0].Backends); got != "[10.0.0.1 fd00::1]n1[10.0.0.1:8080]" {
		t.Errorf("pod and service: %s", got)
	}
	if err := s.dir.Health(); err != nil || len(s.dir.Problems()) != 0 {
		t.Errorf("health %v, problems %v", err, s.dir.Problems())
	}
}

func TestEmptyDirectoryIsSynced(t *testing.T) {
	s := start(t, DirectoryOptions{Path: t.TempDir()})
	if len(s.batches) != 1 || s.dir.Health() != nil {
		t.Errorf("batches %v, health %v", s.batches, s.dir.Health())
	}
}

func TestChangesArriveAsDifferences(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1")+"---\n"+labelled("b", "1"))
	s := start(t, DirectoryOptions{Path: dir})
	put(t, dir, "a.yaml", labelled("a", "2")+"---\n"+labelled("b", "1"))
	s.untilNames("a=2 b=1")
	if got := len(s.batches[1].Policies); got != 1 {
		t.Errorf("%d policies in the second batch, one has changed", got)
	}
	put(t, dir, "a.yaml", labelled("b", "1")) // a goes
	s.untilNames("b=1")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	s.untilNames("")
	if err := os.MkdirAll(filepath.Join(dir, "x", "y"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "x", "y"), "c.yaml", labelled("c", "1"))
	s.untilNames("c=1")
	put(t, filepath.Join(dir, "x", "y"), "c.yaml", labelled("c", "2"))
	s.untilNames("c=2")
	if err := os.Rename(filepath.Join(dir, "x"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	s.untilNames("")
}

// What is equal is not told again; the last change shows that the first was
// read.
func TestSameContentIsNoChange(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1"))
	s := start(t, DirectoryOptions{Path: dir})
	put(t, dir, "a.yaml", "# a comment\n"+labelled("a", "1"))
	put(t, dir, "b.yaml", labelled("b", "1"))
	s.untilNames("a=1 b=1")
	for _, b := range s.batches[1:] {
		if slices.ContainsFunc(b.Policies, func(p *policy.Policy) bool { return p.Name == "a" }) {
			t.Error("an unchanged policy was sent again")
		}
	}
}

// The times are long, so that the test is not about the scheduler of a busy
// machine; it still has several chances, and none would do if files were read
// one by one.
func TestBurstIsOneBatch(t *testing.T) {
	dir := t.TempDir()
	s := start(t, DirectoryOptions{Path: dir, Quiet: 20 * time.Millisecond, Burst: time.Second})
	const files = 40
	for try := 1; try <= 30; try++ {
		for i := range files {
			write(t, filepath.Join(dir, fmt.Sprintf(".%d", i)), labelled(fmt.Sprintf("p%d", i), fmt.Sprint(try)))
		}
		before := s.batchCount()
		for i := range files {
			if err := os.Rename(filepath.Join(dir, fmt.Sprintf(".%d", i)), filepath.Join(dir, fmt.Sprintf("f%d.yaml", i))); err != nil {
				t.Fatal(err)
			}
		}
		s.until("the burst", func() bool {
			return len(s.policies) == files && !slices.ContainsFunc(slices.Collect(maps.Values(s.policies)), func(p *policy.Policy) bool {
				return p.Subjects.Requirements[0].Values[0] != fmt.Sprint(try)
			})
		})
		if s.batchCount() == before+1 {
			return
		}
	}
	t.Error("files renamed in one burst never were one batch")
}

func TestRenameLatency(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "0"))
	s := start(t, DirectoryOptions{Path: dir})
	var took []time.Duration
	for i := 1; i <= 60; i++ {
		write(t, filepath.Join(dir, ".next"), labelled("a", fmt.Sprint(i)))
		begin := time.Now()
		if err := os.Rename(filepath.Join(dir, ".next"), filepath.Join(dir, "a.yaml")); err != nil {
			t.Fatal(err)
		}
		s.untilNames(fmt.Sprintf("a=%d", i))
		took = append(took, s.arrived[len(s.arrived)-1].Sub(begin))
	}
	slices.Sort(took)
	t.Logf("rename to batch: median %s, 95%% %s, most %s", took[len(took)/2], took[len(took)*95/100], took[len(took)-1])
	if best := took[len(took)/10]; best > 5*time.Millisecond {
		t.Errorf("nine in ten take more than %s; the whole way to the wire has 10 ms", best)
	}
}

func TestMissingDirectoryIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "")
	for _, row := range []struct{ path, state, want string }{
		{"/nonexistent/weir", "", "does not exist: create it"},
		{file, "", "is not a directory"},
		{t.TempDir(), file, "state directory"},
	} {
		d, err := NewDirectory(DirectoryOptions{Path: row.path, StateDir: row.state}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		out := make(chan policy.Batch, 1)
		if err := d.Run(context.Background(), out); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.path, err, row.want)
		}
		if _, open := <-out; open {
			t.Errorf("%s: a batch came", row.path)
		}
		if d.Health() == nil {
			t.Errorf("%s: healthy without having read anything", row.path)
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := NewDirectory(DirectoryOptions{}, nil); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("no path: %v", err)
	}
	_, err := NewDirectory(DirectoryOptions{Path: "/x", Quiet: time.Second, Rescan: -1}, nil)
	if err == nil || !strings.Contains(err.Error(), "burst time") || !strings.Contains(err.Error(), "rescan time") {
		t.Errorf("bad times: %v", err)
	}
	var wrapped interface{ Unwrap() []error }
	if !errors.As(err, &wrapped) {
		t.Errorf("not all at once: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const brokenTail = "---\nkind: [\n"

func TestBrokenFileKeepsItsObjects(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1")+"---\n"+labelled("b", "1"))
	s := start(t, DirectoryOptions{Path: dir, StateDir: state})
	put(t, dir, "a.yaml", labelled("a", "2")+brokenTail)
	put(t, dir, "z.yaml", labelled("z", "1"))
	s.untilProblem("a.yaml:6: did not find expected node content; what the file held before stays in force")
	s.untilNames("a=1 b=1 z=1")
	if err := s.dir.Health(); err != nil {
		t.Errorf("all has a good version, yet: %v", err)
	}

	s.stop() // the fault outlives the agent
	s = start(t, DirectoryOptions{Path: dir, StateDir: state})
	s.untilNames("a=1 b=1 z=1")
	s.untilProblem("a.yaml:6")
	put(t, dir, "a.yaml", labelled("a", "3"))
	s.untilNames("a=3 z=1")
	s.until("no problem", func() bool { return len(s.dir.Problems()) == 0 })
}

func TestBrokenObjectKeepsItsVersion(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1")+"---\n"+labelled("b", "1"))
	s := start(t, DirectoryOptions{Path: dir, StateDir: state})
	put(t, dir, "a.yaml", policyText("a", "{matchLabel: {v: '2'}}")+"---\n"+labelled("b", "2")+"---\n"+policyText("c", "{matchLabel: {v: '2'}}"))
	s.untilNames("a=1 b=2")
	s.untilProblem("NetworkPolicy shop/a: unknown field \"spec.podSelector.matchLabel\"; its last good version stays in force")
	s.untilProblem("NetworkPolicy shop/c: unknown field \"spec.podSelector.matchLabel\"; there is no earlier good version")
	if err := s.dir.Health(); err == nil || !strings.Contains(err.Error(), "shop/c") {
		t.Errorf("a policy that never was good does not hold readiness: %v", err)
	}
	s.stop()
	s = start(t, DirectoryOptions{Path: dir, StateDir: state})
	s.untilNames("a=1 b=2")
}

// Without a state directory, or with that of another directory, a fault that
// is there at the start finds nothing.
func TestBrokenAtStart(t *testing.T) {
	dir, other, state := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, other, "a.yaml", labelled("other", "1"))
	start(t, DirectoryOptions{Path: other, StateDir: state}).stop()
	put(t, dir, "a.yaml", labelled("a", "1")+brokenTail)
	s := start(t, DirectoryOptions{Path: dir, StateDir: state})
	s.untilNames("a=1") // what can be read holds
	if err := s.dir.Health(); err == nil || !strings.Contains(err.Error(), "a.yaml:6") {
		t.Errorf("health: %v", err)
	}
}

func TestKeptStateThatIsDamaged(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1"))
	start(t, DirectoryOptions{Path: dir, StateDir: state}).stop()
	kept, err := filepath.Glob(filepath.Join(state, "manifests", "*.json"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	write(t, kept[0], "{")
	s := start(t, DirectoryOptions{Path: dir, StateDir: state})
	s.untilNames("a=1")
	s.untilProblem("cannot be used")
}

func TestDeletedFileIsForgotten(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1"))
	put(t, dir, "b.yaml", labelled("b", "1"))
	start(t, DirectoryOptions{Path: dir, StateDir: state}).stop()
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	s := start(t, DirectoryOptions{Path: dir, StateDir: state})
	if got := s.names(); got != "b=1" {
		t.Errorf("first batch after a deletion while the agent was away: %q", got)
	}
	s.stop()
	kept, _ := filepath.Glob(filepath.Join(state, "manifests", "*"))
	if len(kept) != 1 {
		t.Errorf("kept: %v", kept)
	}
}

// The first half of a file parses; a writer that holds it open says that there
// is more to come.
func TestHalfWrittenFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, labelled("a", "1")+"---\n"+labelled("b", "1"))
	s := start(t, DirectoryOptions{Path: dir})
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(labelled("a", "2") + "---\n"); err != nil {
		t.Fatal(err)
	}
	// Another file shows that the agent has been through meanwhile.
	put(t, dir, "z.yaml", labelled("z", "1"))
	s.untilNames("a=1 b=1 z=1")
	if _, err := f.WriteString(labelled("b", "2")); err != nil {
		t.Fatal(err)
	}
	if got := s.names(); got != "a=1 b=1 z=1" {
		t.Errorf("half a file was read: %s", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.untilNames("a=2 b=2 z=1")
}

func TestEmptiedFileKeepsItsObjects(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1"))
	s := start(t, DirectoryOptions{Path: dir})
	put(t, dir, "a.yaml", "")
	s.untilProblem("a.yaml: the file is empty")
	s.untilNames("a=1")
	put(t, dir, "a.yaml", "# nothing\n")
	s.untilNames("")
}

// An editor that moves the old file away leaves a gap, which must not show.
func TestEditorsGap(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, labelled("a", "1"))
	s := start(t, DirectoryOptions{Path: dir, Absence: 500 * time.Millisecond})
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "z.yaml", labelled("z", "1"))
	s.untilNames("a=1 z=1")
	write(t, path, labelled("a", "2"))
	s.untilNames("a=2 z=1")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if len(b.DeletedPolicies) > 0 {
			t.Errorf("the policy was gone for a moment: %v", b.DeletedPolicies)
		}
	}
}

func TestSameObjectInTwoFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "b.yaml", labelled("p", "b"))
	s := start(t, DirectoryOptions{Path: dir})
	s.untilNames("p=b")
	put(t, dir, "c.yaml", labelled("p", "c"))
	s.untilProblem("c.yaml:1: NetworkPolicy shop/p: the same object stands in b.yaml")
	put(t, dir, "a.yaml", labelled("p", "a"))
	s.untilNames("p=a")
	if err := os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "d.yaml")); err != nil {
		t.Fatal(err)
	}
	s.untilNames("p=b")
	if n := s.log.count("problem in a manifest\""); n != 5 { // c beside b; b and c beside a; c and d beside b
		t.Errorf("problems were told %d times: %v", n, s.log.text)
	}
	for _, name := range []string{"b.yaml", "c.yaml", "d.yaml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.untilNames("")
	s.until("no problems", func() bool { return len(s.dir.Problems()) == 0 })
}

// The volume of a ConfigMap: files are links through "..data", which is moved.
func TestConfigMapVolume(t *testing.T) {
	dir := t.TempDir()
	version := func(name, label string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "a.yaml"), labelled("a", label))
		write(t, filepath.Join(dir, name, "b.yaml"), labelled("b", label))
		if err := os.Symlink(name, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", "1")
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, DirectoryOptions{Path: dir})
	if got := s.names(); got != "a=1 b=1" {
		t.Fatalf("first: %s", got)
	}
	version("..2", "2")
	s.untilNames("a=2 b=2")
	if n := len(s.batches); n != 2 {
		t.Errorf("%d batches; a volume changes at once", n)
	}
}

func TestVanishedDirectoryKeepsItsObjects(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "m")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "a.yaml", labelled("a", "1"))
	s := start(t, DirectoryOptions{Path: dir, Rescan: 20 * time.Millisecond})
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	s.untilProblem("the directory of manifests cannot be read")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.untilProblem("was replaced by a directory without manifests")
	if got := s.names(); got != "a=1" {
		t.Errorf("in force: %q", got)
	}
	put(t, dir, "b.yaml", labelled("b", "1"))
	s.untilNames("b=1")
	put(t, dir, "b.yaml", labelled("b", "2"))
	s.untilNames("b=2")
	s.until("no problem", func() bool { return len(s.dir.Problems()) == 0 })
}

func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.yaml", labelled("a", "1"))
	s := start(t, DirectoryOptions{Path: dir})
	if err := os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nonexistent", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	s.untilProblem("a.yaml: cannot be read: not a regular file")
	s.untilNames("a=1")
}

func TestSliceChangesItsService(t *testing.T) {
	dir := t.TempDir()
	slice := func(port string) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{port: " + port + "}]\nendpoints: [{addresses: [10.0.0.1]}]\n"
	}
	put(t, dir, "slice.yaml", slice("8080"))
	s := start(t, DirectoryOptions{Path: dir})
	backends := func() string {
		for _, svc := range s.services {
			if len(svc.Ports) > 0 && len(svc.Ports[0].Backends) > 0 {
				return svc.Ports[0].Backends[0].String()
			}
			return "none"
		}
		return ""
	}
	put(t, dir, "svc.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}, {port: 0}]}\n")
	s.until("slice joined", func() bool { return backends() == "10.0.0.1:8080" })
	s.untilProblem("svc.yaml:1: Service shop/web: spec.ports[1]")
	put(t, dir, "slice.yaml", slice("9090"))
	s.until("slice changed", func() bool { return backends() == "10.0.0.1:9090" })
	if err := os.Remove(filepath.Join(dir, "slice.yaml")); err != nil {
		t.Fatal(err)
	}
	s.until("slice gone", func() bool { return backends() == "none" })
	if err := os.Remove(filepath.Join(dir, "svc.yaml")); err != nil {
		t.Fatal(err)
	}
	s.until("service gone", func() bool { return backends() == "" })
}

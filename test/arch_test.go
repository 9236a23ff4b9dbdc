// SPDX-License-Identifier: Apache-2.0

package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weirnet/weir/"

// The libraries that only some may import; every other import from outside the
// module is free.
const (
	ebpf      = "github.com/cilium/ebpf"
	clientGo  = "k8s.io/client-go"
	kubeTypes = "k8s.io/api"
	netlink   = "github.com/vishvananda/netlink"
	grpc      = "google.golang.org/grpc"
	cobra     = "github.com/spf13/cobra"
	prom      = "github.com/prometheus"
)

var guarded = []string{ebpf, clientGo, kubeTypes, netlink, grpc, cobra, prom}

// rules say what each package may import of the module and of the guarded
// libraries, and why it may not import more. Data flows one way (ARCHITECTURE,
// "The way of the data"); there is no arrow back.
var rules = []struct {
	pkg     string
	allowed []string
	why     string
}{
	{"bpf", []string{ebpf}, "the kernel boundary is a leaf: everybody may read its types, it knows nobody"},
	{"policy", nil, "the model and the oracle are plain Go: no kernel, no Kubernetes types"},
	{"policy/convert", []string{"policy", kubeTypes}, "the only place where Kubernetes types turn into the model"},
	{"policy/resolve", []string{"policy"}, "incremental calculation without goroutines, locks or kernel"},
	{"policy/compile", []string{"policy", "policy/resolve", "bpf"}, "knows the layout of the maps, not how they are written"},
	{"flows", []string{"policy", "bpf"}, "records of what happened, without a transport"},
	{"agent/watch", []string{"policy", "policy/convert", clientGo, kubeTypes}, "hands the model on, decides nothing"},
	{"agent/kube", []string{clientGo, kubeTypes}, "events and access reviews, apart from watching"},
	{"agent/cni", nil, "files of the node, as the agent tells it"},
	{"agent/endpoint", []string{"policy", "bpf", netlink}, "which veth is which pod; writes no map"},
	{"agent/datapath", []string{"policy", "policy/resolve", "policy/compile", "bpf", ebpf, netlink}, "the only writer of maps and links"},
	{"agent", []string{"policy", "policy/resolve", "policy/compile", "policy/convert", "flows", "bpf", "agent/watch", "agent/kube", "agent/cni", "agent/endpoint", "agent/datapath", "api/server", "api/v1", prom}, "wiring only"},
	{"api/v1", []string{grpc}, "generated"},
	{"api/server", []string{"api/v1", "flows", "policy", "bpf", grpc}, "protos are built here and nowhere else"},
	{"api/client", []string{"api/v1", grpc}, "what a reader of the API needs, and no part of the agent"},
	{"cmd/weir", []string{"api/v1", "api/client", "cmd/weir/output", "cmd/weir/recording", "cmd/weir/kube", "cmd/weir/merge", cobra, grpc}, "the CLI sees the agent through its API alone"},
	{"cmd/weir/output", []string{"api/v1"}, "formats messages"},
	{"cmd/weir/recording", []string{"api/v1"}, "files of flows, and filters for them, without an agent"},
	{"cmd/weir/merge", []string{"api/v1", "api/client"}, "what several agents tell becomes one; opens no connection"},
	{"cmd/weir/kube", []string{clientGo, kubeTypes}, "port forwarding and tokens"},
	{"deploy/tool", []string{"deploy/tool/chart", "deploy/tool/image"}, "a module of its own, which knows nothing of weir's code"},
	{"deploy/tool/chart", nil, "renders files"},
	{"deploy/tool/image", nil, "packs files"},
	{"cmd/weir-cni", []string{"api/v1", "api/client", netlink, grpc}, "asks the agent and the kernel, decides nothing"},
	{"cmd/weir-agent", []string{"agent", "agent/datapath", cobra}, "flags, signals and exit codes"},
}

func TestImports(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") || rel == "test" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen++
		checkFile(t, path, filepath.ToSlash(filepath.Dir(rel)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Fatalf("read %d files: not the tree of the module", seen)
	}
}

func checkFile(t *testing.T, path, pkg string) {
	rule := slices.IndexFunc(rules, func(r struct {
		pkg     string
		allowed []string
		why     string
	}) bool {
		return r.pkg == pkg
	})
	if rule < 0 {
		t.Errorf("%s: package %s has no import rule; add one with its reason to test/arch_test.go", path, pkg)
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !allowed(rules[rule].allowed, name) {
			t.Errorf("%s imports %s; %s may not: %s", path, name, pkg, rules[rule].why)
		}
	}
}

func allowed(list []string, name string) bool {
	if inside, ok := strings.CutPrefix(name, module); ok {
		return slices.Contains(list, inside)
	}
	for _, g := range guarded {
		if name == g || strings.HasPrefix(name, g+"/") {
			return slices.Contains(list, g)
		}
	}
	return true
}

// The style of file and function sizes, with what stands above it named.
func TestFileSizes(t *testing.T) {
	const limit = 450
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(path)
		if (ext != ".go" && ext != ".c" && ext != ".h") || strings.HasSuffix(path, ".pb.go") || strings.HasSuffix(path, "_bpfel.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if lines := strings.Count(string(raw), "\n"); lines > limit {
			t.Errorf("%s has %d lines; split it: a file is one concern and at most %d lines", path, lines, limit)
		}
		if !strings.Contains(string(raw[:min(len(raw), 120)]), "SPDX-License-Identifier: ") {
			t.Errorf("%s has no SPDX line", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

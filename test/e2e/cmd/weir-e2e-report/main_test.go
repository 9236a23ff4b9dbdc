// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"v/about.json": `{"variant": "ptp, kube-proxy nftables, dual", "commit": "abc", "kernel": "6.18", "began": "now"}`,
		"v/rows.json": `{"Action":"start"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:7: 5 calls | 0 wrong\n"}
{"Action":"pass","Test":"TestA","Elapsed":1.25}
{"Action":"output","Test":"TestB/part","Output":"        b_test.go:8: late\n"}
{"Action":"fail","Test":"TestB/part","Elapsed":2}
{"Action":"fail","Test":"TestB","Elapsed":2}
{"Action":"fail","Elapsed":3.3}
`,
		"v/server.json": `{"Action":"pass","Test":"TestC","Elapsed":4}
`,
		"v/netpol.json": `[{"SpecReports": [
			{"ContainerHierarchyTexts": ["[sig-network] Netpol", "server"], "LeafNodeText": "works", "State": "passed", "RunTime": 2000000000},
			{"ContainerHierarchyTexts": ["[sig-network] Netpol", "SCTP"], "LeafNodeText": "left", "State": "skipped"},
			{"ContainerHierarchyTexts": ["[sig-network] DNS"], "LeafNodeText": "other", "State": "skipped"}]}]`,
		"out": "# comment\nSCTP\tno sockets\n",
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.md")
	if err := report(dir, filepath.Join(dir, "out"), page); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## ptp, kube-proxy nftables, dual", "Commit abc, kernel 6.18, now.",
		"| TestA | pass | 1.2 | 5 calls \\| 0 wrong |", "| TestB | **fail** | 2.0 | part: late |", "Not run.", "| TestC | pass | 4.0 |",
		"2 specs: 1 passed, 0 failed, 1 left out, 0 other; 2 s.", "| server works | passed | 2 |", "- `SCTP`: no sockets",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the page has no %q:\n%s", want, raw)
		}
	}
	if err := report(t.TempDir(), filepath.Join(dir, "out"), page); err == nil {
		t.Error("no results made a page")
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFate(t *testing.T) {
	const nested = "--- FAIL: TestA (0.01s)\n    --- FAIL: TestA/06-x.scenario (0.01s)\n        --- FAIL: TestA/06-x.scenario/cuts (0.01s)\n            x.go:1: no\n"
	for _, row := range []struct {
		name, out string
		failed    bool
		fate      Fate
		by        string
	}{
		{"all pass", "ok  \tx\t1s\n", false, Survived, ""},
		{"a test fails", "--- FAIL: TestA (0.01s)\n    x.go:1: no\nFAIL\n", true, Killed, "TestA"},
		{"a subtest fails", nested + "FAIL\n", true, Killed, "TestA/06-x.scenario/cuts"},
		{"two tests fail", nested + "--- FAIL: TestB (0.01s)\nFAIL\n", true, Killed, "TestA/06-x.scenario/cuts"},
		{"a panic", "panic: index out of range\n\ngoroutine 1\n", true, Killed, "a panic"},
		{"something is left open", "files left open\nFAIL\n", true, Killed, "the end of the run, of what it leaves behind"},
		{"does not compile", "# x\nx.go:1: declared and not used\nFAIL\tx [build failed]\n", true, Unusable, ""},
		{"does not parse", "FAIL\tx [setup failed]\n", true, Unusable, ""},
		{"the verifier refuses", "--- FAIL: TestA (0.01s)\n    x.go:1: program from_pod: load program: permission denied\n", true, Unusable, ""},
	} {
		if fate, by, _ := fateOf(row.out, row.failed, corpus); fate != row.fate || by != row.by {
			t.Errorf("%s: %s by %q, want %s by %q", row.name, fate, by, row.fate, row.by)
		}
	}
}

func TestWords(t *testing.T) {
	got, err := words(`-cc clang "-O2 -g" -type  a Weir`)
	if want := []string{"-cc", "clang", "-O2 -g", "-type", "a", "Weir"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := words(`a "b`); err == nil {
		t.Errorf("a quote without end gives %q, and no error", got)
	}
}

func TestSample(t *testing.T) {
	o := Defaults()
	o.Sample, o.Seed = 6, 3
	first, again := o.choose(list(), io.Discard), o.choose(list(), io.Discard)
	if len(first) != 6 || !slices.Equal(first, again) {
		t.Errorf("seed 3 gives %d mutants, and then others: %v, %v", len(first), first, again)
	}
	o.Seed = 4
	if slices.Equal(first, o.choose(list(), io.Discard)) {
		t.Error("seeds 3 and 4 give the same sample")
	}
	o.Only = "^except-"
	for _, m := range o.choose(list(), io.Discard) {
		if !strings.HasPrefix(m.Name, "except-") {
			t.Errorf("%s is not like %s", m.Name, o.Only)
		}
	}
}

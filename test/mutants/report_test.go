// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	m := list()[0]
	r := Report{Commit: "abc", Of: 2, Results: []Result{
		{Mutant: m.Name, Line: m.Line, File: m.File, Fate: Killed, By: "TestA/x|y", Seconds: 1.25},
		{Mutant: list()[1].Name, Line: 1, Fate: Survived, Detail: "passes"},
	}}
	if r.clean() {
		t.Error("a mutant survives, and the report is clean")
	}
	var text, table strings.Builder
	if err := r.markdown(&text, map[string]Mutant{m.Name: m}); err != nil {
		t.Fatal(err)
	}
	if err := r.table(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"commit abc", "2 of 2 mutants: 1 killed, 1 survived, 0 unusable", m.Why, `TestA/x\|y`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
	if !strings.Contains(table.String(), list()[1].Name+": passes") {
		t.Errorf("the table does not say why the second survives:\n%s", table.String())
	}
}

func TestResume(t *testing.T) {
	first, second := list()[0].Name, list()[1].Name
	path := filepath.Join(t.TempDir(), "results.json")
	err := writeFile(path, (&Report{Commit: "abc", Results: []Result{{Mutant: first, Fate: Killed}, {Mutant: second, Fate: Survived}, {Mutant: "gone", Fate: Killed}}}).json)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := killedBefore(path, "abc"); err != nil || len(got) != 1 || got[0].Mutant != first {
		t.Errorf("%+v, %v; want %s alone", got, err, first)
	}
	if got, err := killedBefore(path, "abd"); err == nil {
		t.Errorf("results of another commit are taken over: %+v", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := killedBefore(path, "abc"); err == nil {
		t.Error("a broken file, and no error")
	}
	if got, err := killedBefore("", "abc"); err != nil || len(got) != 0 {
		t.Errorf("nothing to resume: %v, %v", got, err)
	}
}

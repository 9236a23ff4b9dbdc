// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inForce are the lines of the semantics.
const inForce = 37

func TestList(t *testing.T) {
	names, lines := map[string]bool{}, map[int]bool{}
	for _, m := range list() {
		if names[m.Name] {
			t.Errorf("%s: two mutants have this name", m.Name)
		}
		names[m.Name], lines[m.Line] = true, true
		text, err := os.ReadFile(filepath.Join("..", "..", m.File))
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if _, err := m.apply(string(text)); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if m.Line < 1 || m.Line > inForce || m.Why == "" {
			t.Errorf("%s: line %d, why %q: want a line of the semantics and a reason", m.Name, m.Line, m.Why)
		}
		if !namesTest(t, m.Tests) {
			t.Errorf("%s: no test of %s matches %s", m.Name, m.Tests.Package, m.Tests.Run)
		}
	}
	for line := 1; line <= inForce; line++ {
		if !lines[line] {
			t.Errorf("no mutant breaks line %d of the semantics", line)
		}
	}
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

func namesTest(t *testing.T, s Suite) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", s.Package, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	function, _, _ := strings.Cut(s.Run, "/") // the rest names tests inside it
	run := regexp.MustCompile(function)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range testFunction.FindAllStringSubmatch(string(text), -1) {
			if run.MatchString(found[1]) {
				return true
			}
		}
	}
	return false
}

func TestApply(t *testing.T) {
	const text = "a = b;\nc = b;\nc = d;\n"
	for _, row := range []struct{ name, old, changed, want, fault string }{
		{"one line", "a = b", "a = c", "a = c;\nc = b;\nc = d;\n", ""},
		{"with the line before it", "b;\nc = d", "b;\nc = a", "a = b;\nc = b;\nc = a;\n", ""},
		{"nothing to replace", "", "x", "", "no fragment"},
		{"gone", "a = x", "a = c", "", "occurs 0 times"},
		{"twice", "= b", "= c", "", "occurs 2 times"},
		{"no change", "a = b", "a = b", "", "0 lines change"},
		{"two lines", "a = b;\nc = b", "a = c;\nc = c", "", "2 lines change"},
		{"a line more", "a = b", "a =\nb", "", "-1 lines change"},
	} {
		m := Mutant{Old: row.old, New: row.changed}
		got, err := m.apply(text)
		if got != row.want || (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%s: %q, %v; want %q, %q", row.name, got, err, row.want, row.fault)
		}
	}
}

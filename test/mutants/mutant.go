// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mutant is one fault put into one line of the sources.
type Mutant struct {
	Name string // of no other mutant
	Line int    // of the semantics, 1 to 37
	File string // from the root of the module
	// Old occurs exactly once in File. It may begin on a line before the one
	// that changes, where that line alone is not unique.
	Old, New string
	Why      string // what the fault would mean to a user
	Tests    Suite
}

// Suite is the tests of one package that must notice.
type Suite struct {
	Package string // as the go command takes it
	Run     string // a regular expression for -run
}

// The corpus: without a kernel for faults of Go code, with the programs for
// faults of BPF code.
var (
	corpus   = Suite{"./test/scenario", "^(TestOracle|TestInterpreter|TestHistories)$"}
	programs = Suite{"./test/scenario", "^TestPrograms$"}
)

// packet is for what the corpus cannot say of a packet: flags, fragments,
// where it came from, time.
func packet(test string) Suite { return Suite{"./test/packet", "^" + test + "$"} }

// translation is for what only real translation shows.
func translation(test string) Suite { return Suite{"./test/service", "^" + test + "$"} }

var collusion = translation("TestCollusion")

// histories is what comes of changes in many orders.
var histories = Suite{"./policy/compile", "^(TestRandomHistories|TestNoWrongInstant)$"}

// remarks is what is told of rules that mean nothing.
var remarks = Suite{"./policy/resolve", "^TestRemarks$"}

// list is every mutant, in the order of the lines.
func list() []Mutant {
	all := slices.Concat(convertMutants, resolveMutants, compileMutants, programMutants, orderMutants, attackMutants)
	slices.SortStableFunc(all, func(a, b Mutant) int { return a.Line - b.Line })
	return all
}

// isProgram reports whether m changes BPF code.
func (m *Mutant) isProgram() bool { return strings.HasPrefix(m.File, "bpf/src/") }

// apply returns the text of File with the fault in it.
func (m *Mutant) apply(text string) (string, error) {
	switch n := strings.Count(text, m.Old); {
	case m.Old == "":
		return "", errors.New("no fragment to replace")
	case n != 1:
		return "", fmt.Errorf("%q occurs %d times in %s: name a fragment that occurs once", m.Old, n, m.File)
	}
	if n := changedLines(m.Old, m.New); n != 1 {
		return "", fmt.Errorf("%d lines change in %s: a mutant changes one", n, m.File)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// changedLines counts the lines that differ; -1: their numbers differ.
func changedLines(old, changed string) int {
	a, b := strings.Split(old, "\n"), strings.Split(changed, "\n")
	if len(a) != len(b) {
		return -1
	}
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

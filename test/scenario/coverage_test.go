// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"flag"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// coverage is which line of the semantics is shown by which engine, and why
// not by the others. A reason is for a whole line; single rows that an engine
// cannot judge count as left out, too.
var coverage = []struct {
	line  int
	title string
	// out gives the reason for each engine that leaves rows of the line out;
	// "all" stands for every engine: the line has no file here.
	out map[string]string
}{
	{1, "policyTypes", nil},
	{2, "nil, empty and one empty rule", nil},
	{3, "rules without peers, empty podSelector", nil},
	{4, "empty and absent namespaceSelector", nil},
	{5, "and within a peer, or between peers", nil},
	{6, "except", nil},
	{7, "CIDRs", nil},
	{8, "blocks over pods", nil},
	{9, "default protocol", nil},
	{10, "SCTP and unknown protocols", nil},
	{11, "protocol without port", nil},
	{12, "endPort", nil},
	{13, "named ports", nil},
	{14, "named ports towards blocks", nil},
	{15, "both ends", nil},
	{16, "policies add up", nil},
	{17, "the last policy goes", nil},
	{18, "relabelling", nil},
	{19, "own node", map[string]string{"interpreter": "the tables hold policy alone; who the node is, the programs tell"}},
	{20, "hostNetwork", map[string]string{"interpreter": "rows about the own node, as 19"}},
	{21, "ended pods, reused addresses", nil},
	{22, "each of status.podIPs", nil},
	{23, "from the first packet", map[string]string{"all": "about the time before the first list is applied: shown with agent and CNI plugin"}},
	{24, "live connections", map[string]string{"all": "flows that outlive a change: shown by the sequences of test/packet"}},
	{25, "own traffic", map[string]string{"interpreter": "told by the interface, not by the tables", "packets": "leaves the namespace through a Service alone"}},
	{26, "replies", nil},
	{27, "ICMP", nil},
	{28, "Services (no hook)", map[string]string{"oracle": "policies do not speak of Services' addresses", "interpreter": "as the oracle"}},
	{29, "all of a policy, and all that arrived together", map[string]string{"all": "about instants within one change: shown by TestNoWrongInstant of policy/compile and the order tests of agent/datapath"}},
	{30, "state is shared by content", nil},
	{31, "selectors", nil},
	{32, "unusable policies (rules)", nil},
	{33, "ports at the ends of the range", nil},
	{34, "events in any order", nil},
	{35, "invalid peers", nil},
	{36, "other protocols, link-local addresses", map[string]string{"packets": "a link-local address is not routed"}},
	{37, "source NAT before the pod", map[string]string{"all": "needs a translating node: shown by the tests with a cluster"}},
}

// engineNames in the order of the text.
var engineNames = []string{"oracle", "interpreter", "programs", "packets"}

// shown counts what the engines that run without a kernel judge and skip, by
// line and engine; the others report theirs through checkCoverage.
type shown map[int]*Outcome

func (s shown) add(t *testing.T, file string, o Outcome) {
	line := lineOf(t, file)
	if s[line] == nil {
		s[line] = &Outcome{}
	}
	s[line].Judged += o.Judged
	s[line].Skipped = append(s[line].Skipped, o.Skipped...)
}

func lineOf(t *testing.T, file string) int {
	t.Helper()
	digits, _, _ := strings.Cut(filepath.Base(file), "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("%s: the name of the file does not begin with a line of the semantics", file)
	}
	return n
}

// check compares the table with what an engine did.
func (s shown) check(t *testing.T, engine string) {
	t.Helper()
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return // a part of the corpus covers a part of the lines
	}
	for _, c := range coverage {
		reason, left := c.out[engine]
		if _, all := c.out["all"]; all {
			if s[c.line] != nil {
				t.Errorf("line %d is left out of the corpus by the table, and has a file", c.line)
			}
			continue
		}
		o := s[c.line]
		switch {
		case o == nil || o.Judged+len(o.Skipped) == 0:
			t.Errorf("line %d (%s): no row for the %s, and no reason", c.line, c.title, engine)
		case !left && len(o.Skipped) > 0:
			t.Errorf("line %d (%s): the %s leaves rows out without a reason in the table: %s", c.line, c.title, engine, o.Skipped[0])
		case left && len(o.Skipped) == 0:
			t.Errorf("line %d (%s): the %s judges every row, but the table says: %s", c.line, c.title, engine, reason)
		}
	}
}

func TestCoverageTable(t *testing.T) {
	for i, c := range coverage {
		if c.line != i+1 {
			t.Errorf("row %d is line %d: want every line of the semantics once, in order", i, c.line)
		}
		for engine, reason := range c.out {
			if reason == "" || engine != "all" && !slices.Contains(engineNames, engine) {
				t.Errorf("line %d: engine %q, reason %q", c.line, engine, reason)
			}
		}
	}
	scenarios, cases := 0, 0
	for file, list := range corpus(t) {
		if n := lineOf(t, file); n < 1 || n > len(coverage) {
			t.Errorf("%s: there is no line %d", file, n)
		}
		scenarios += len(list)
		for _, s := range list {
			for _, step := range s.Steps {
				cases += len(step.Cases)
			}
		}
	}
	t.Logf("%d scenarios, %d cases", scenarios, cases)
}

// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// Canonical returns the tables as lines that do not depend on ids: sets are
// numbered as the sorted subjects name them, classes as the sorted prefixes
// and addresses do, and rules are called what name says, or numbered as the
// rows name them if name is nil. Rows that nothing leads to show as orphans.
// The epoch is left out: it tells of the path, not of the state.
func (t *Tables) Canonical(name func(resolve.RuleID) string) []string {
	sets, classes, rules := numbers{}, numbers{0: 0}, numbers{}
	if name == nil {
		name = func(id resolve.RuleID) string { return fmt.Sprint("r", rules.of(uint32(id))) }
	}
	lines := t.subjectLines(sets)
	lines = append(lines, t.classLines(classes)...)
	return append(lines, t.rowLines(sets, classes, name)...)
}

// Equal reports whether both say the same of every packet in the same way.
func (t *Tables) Equal(other *Tables) bool {
	return slices.Equal(t.Canonical(nil), other.Canonical(nil))
}

// numbers renames ids in the order in which they are first asked for.
type numbers map[uint32]int

func (n numbers) of(id uint32) int {
	if _, has := n[id]; !has {
		n[id] = len(n)
	}
	return n[id]
}

func (t *Tables) subjectLines(sets numbers) []string {
	sets.of(0)
	keys := slices.SortedFunc(maps.Keys(t.Subjects), func(a, b policy.ObjectKey) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	var lines []string
	for _, key := range keys {
		s := t.Subjects[key]
		lines = append(lines, fmt.Sprintf("subject %s/%s %s ingress s%d any %t egress s%d any %t", key.Namespace, key.Name,
			s.UID, sets.of(uint32(s.Ingress)), s.IngressAny, sets.of(uint32(s.Egress)), s.EgressAny))
	}
	return lines
}

func (t *Tables) classLines(classes numbers) []string {
	var lines []string
	cidrs := slices.SortedFunc(maps.Keys(t.Cidrs), func(a, b bpf.WeirCidrKey) int {
		return cmp.Or(bytes.Compare(a.Addr[:], b.Addr[:]), cmp.Compare(a.PrefixLen, b.PrefixLen))
	})
	for _, key := range cidrs {
		lines = append(lines, fmt.Sprintf("cidr %x/%d c%d", key.Addr, key.PrefixLen, classes.of(uint32(t.Cidrs[key]))))
	}
	peers := slices.SortedFunc(maps.Keys(t.Peers), func(a, b bpf.WeirAddress) int {
		return bytes.Compare(a.Bytes[:], b.Bytes[:])
	})
	for _, key := range peers {
		p := t.Peers[key]
		lines = append(lines, fmt.Sprintf("peer %x c%d flags %d", key.Bytes, classes.of(p.Class), p.Flags))
	}
	return lines
}

func (t *Tables) rowLines(sets, classes numbers, name func(resolve.RuleID) string) []string {
	var keys []bpf.WeirRowKey
	orphans := 0
	for key := range t.Rows {
		_, set := sets[key.Set]
		_, class := classes[key.Class]
		if set && class {
			keys = append(keys, key)
		} else {
			orphans++
		}
	}
	slices.SortFunc(keys, func(a, b bpf.WeirRowKey) int {
		return cmp.Or(cmp.Compare(sets[a.Set], sets[b.Set]), cmp.Compare(classes[a.Class], classes[b.Class]),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Page, b.Page))
	})
	var lines []string
	for _, key := range keys {
		row := t.Rows[key]
		line := fmt.Sprintf("row s%d c%d protocol %d page %d more %d:", sets[key.Set], classes[key.Class], key.Protocol, key.Page, row.More)
		for _, v := range row.Intervals[:row.Count] {
			line += fmt.Sprintf(" %d-%d %s action %d", v.Lo, v.Hi, name(resolve.RuleID(v.Rule)), v.Action)
		}
		lines = append(lines, line)
	}
	if orphans > 0 {
		lines = append(lines, fmt.Sprintf("orphan rows: %d", orphans))
	}
	return lines
}

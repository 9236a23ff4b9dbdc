// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/policy"
)

// SummaryKey is what flows are put into groups by.
type SummaryKey uint8

const (
	BySource SummaryKey = iota + 1
	ByDestination
	ByPort // and protocol
	ByVerdict
	ByPolicy // deciding, else all that isolate
	ByRule
	ByReason
	ByDirection
	BySourceWorkload
	ByDestinationWorkload
	BySourceNamespace
	ByDestinationNamespace
)

// SummaryOrder says which groups come first. Groups that are equal in it stand
// by their text.
type SummaryOrder uint8

const (
	MostFlows SummaryOrder = iota // and denials
	MostPackets
	MostBytes
	MostDenials
	Newest
)

// EndName is one end of the flows of a group: a pod or Service by name, a
// workload by namespace, kind and name, a namespace alone, the node, or an
// address. The zero EndName: the group is not by this end.
type EndName struct {
	Identity              Identity
	Namespace, Kind, Name string // Kind: of a workload
	Addr                  netip.Addr
}

// GroupKey holds the values that the flows of a group have in common; what was
// not asked for is zero.
type GroupKey struct {
	Source, Destination EndName
	Protocol            policy.Protocol
	Port                uint16
	Verdict             Verdict
	Policies            string // "namespace/name" of each, with commas
	Rule                policy.RuleRef
	Reason              Reason
	Direction           policy.Direction
}

// Counts of flows. Packets and bytes are those of flows of which a record with
// totals was met, over their whole life.
type Counts struct {
	Flows          uint64 // distinct, allowed and audited
	Denials        uint64 // denied packets that events told of, and repeats; of an audited flow one
	Sent, Answered Traffic
	First, Last    time.Time // of the records
}

// Group of flows.
type Group struct {
	GroupKey
	Counts
	Nearest *Miss // of the newest record that has one
}

// Summary of what a store keeps.
type Summary struct {
	Groups []Group
	Total  Counts
	Count  int       // of all groups
	Oldest time.Time // of the oldest record that is kept
	Missed uint64    // records that were overwritten meanwhile
}

// Summarize counts the kept flows that pass the filter, and returns the first
// top groups in the given order.
func (s *Store) Summarize(filter *Filter, by []SummaryKey, order SummaryOrder, top int) Summary {
	oldest, newest := s.Bounds()
	r := s.Subscribe(nil, oldest-1)
	defer r.Close()
	out := Summary{}
	groups := map[GroupKey]*tally{}
	total := newTally()
	buffer := make([]*Flow, 0, readChunk)
	for done := newest == 0; !done; {
		buffer, done = r.Read(buffer[:0], readChunk, newest)
		for _, f := range buffer {
			if out.Oldest.IsZero() {
				out.Oldest = f.Time
			}
			if f = filter.Show(f); f == nil {
				continue
			}
			key := keyOfGroup(f, by)
			if groups[key] == nil {
				groups[key] = newTally()
			}
			groups[key].add(f)
			total.add(f)
		}
	}
	out.Missed, out.Count, out.Total = r.Missed(), len(groups), total.counts
	for key, t := range groups {
		out.Groups = append(out.Groups, Group{key, t.counts, t.nearest})
	}
	slices.SortFunc(out.Groups, func(a, b Group) int { return compareGroups(a, b, order) })
	out.Groups = out.Groups[:min(top, len(out.Groups))]
	return out
}

// tally counts each flow once, however many records it has.
type tally struct {
	counts  Counts
	nearest *Miss
	flows   map[uint64]*Totals // the newest of each
}

func newTally() *tally { return &tally{flows: map[uint64]*Totals{}} }

func (t *tally) add(f *Flow) {
	c := &t.counts
	if c.First.IsZero() || f.Time.Before(c.First) {
		c.First = f.Time
	}
	if f.Time.After(c.Last) {
		c.Last = f.Time
	}
	if f.Nearest != nil {
		t.nearest = f.Nearest
	}
	if f.Totals == nil && f.Verdict != Allowed {
		c.Denials += 1 + uint64(f.Repeats)
	}
	if f.ID == 0 {
		if f.Verdict != Denied {
			c.Flows++ // one that could not be remembered
		}
		t.carry(&Totals{}, f.Totals)
		return
	}
	before, known := t.flows[f.ID]
	if !known && f.Verdict != Denied {
		c.Flows++
	}
	if before == nil {
		before = &Totals{}
	}
	t.carry(before, f.Totals)
	if f.Totals != nil || !known {
		t.flows[f.ID] = f.Totals
	}
}

func (t *tally) carry(before, now *Totals) {
	if now == nil {
		return
	}
	t.counts.Sent.grow(before.Sent, now.Sent)
	t.counts.Answered.grow(before.Answered, now.Answered)
}

func (t *Traffic) grow(before, now Traffic) {
	t.Packets += since(now.Packets, before.Packets)
	t.Bytes += since(now.Bytes, before.Bytes)
	t.TCPFlags |= now.TCPFlags
}

func keyOfGroup(f *Flow, by []SummaryKey) (k GroupKey) {
	for _, what := range by {
		switch what {
		case BySource:
			k.Source = f.Source.endName()
		case ByDestination:
			k.Destination = f.Destination.endName()
		case BySourceWorkload:
			k.Source = f.Source.workloadName()
		case ByDestinationWorkload:
			k.Destination = f.Destination.workloadName()
		case BySourceNamespace:
			k.Source = f.Source.namespaceName()
		case ByDestinationNamespace:
			k.Destination = f.Destination.namespaceName()
		case ByPort:
			k.Protocol, k.Port = f.Protocol, f.Destination.Port
		case ByVerdict:
			k.Verdict = f.Verdict
		case ByPolicy:
			k.Policies = policiesOf(f)
		case ByRule:
			if f.Rule != nil {
				k.Rule = *f.Rule
			}
		case ByReason:
			k.Reason = f.Reason
		case ByDirection:
			k.Direction = f.Direction
		}
	}
	return k
}

func policiesOf(f *Flow) string {
	if f.Rule != nil {
		return f.Rule.Policy.String()
	}
	names := make([]string, len(f.Isolating))
	for i, key := range f.Isolating {
		names[i] = key.String()
	}
	return strings.Join(names, ",")
}

func (p *Peer) endName() EndName {
	if key, ok := p.Object(); ok {
		return EndName{Identity: p.Identity, Namespace: key.Namespace, Name: key.Name}
	}
	if p.Identity == NodeIdentity {
		return EndName{Identity: NodeIdentity}
	}
	return EndName{Identity: p.Identity, Addr: p.Addr}
}

func (p *Peer) workloadName() EndName {
	if p.Pod == nil || p.Pod.Workload.Name == "" {
		return p.endName()
	}
	w := p.Pod.Workload
	return EndName{Identity: PodIdentity, Namespace: p.Pod.Namespace, Kind: w.Kind, Name: w.Name}
}

func (p *Peer) namespaceName() EndName {
	if key, ok := p.Object(); ok {
		return EndName{Identity: p.Identity, Namespace: key.Namespace}
	}
	return p.endName()
}

func compareGroups(a, b Group, order SummaryOrder) int {
	weight := func(g *Group) uint64 {
		switch order {
		case MostPackets:
			return g.Sent.Packets + g.Answered.Packets
		case MostBytes:
			return g.Sent.Bytes + g.Answered.Bytes
		case MostDenials:
			return g.Denials
		}
		return g.Flows + g.Denials
	}
	first := cmp.Compare(weight(&b), weight(&a))
	if order == Newest {
		first = b.Last.Compare(a.Last)
	}
	return cmp.Or(first, a.Source.compare(b.Source), a.Destination.compare(b.Destination),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Verdict, b.Verdict),
		cmp.Compare(a.Policies, b.Policies), a.Rule.Policy.Compare(b.Rule.Policy), cmp.Compare(a.Rule.Direction, b.Rule.Direction),
		cmp.Compare(a.Rule.Index, b.Rule.Index), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Direction, b.Direction))
}

func (n EndName) compare(o EndName) int {
	return cmp.Or(cmp.Compare(n.Namespace, o.Namespace), cmp.Compare(n.Kind, o.Kind), cmp.Compare(n.Name, o.Name),
		n.Addr.Compare(o.Addr), cmp.Compare(n.Identity, o.Identity))
}

// SPDX-License-Identifier: Apache-2.0

package main

// compileMutants write rows that say something else than the rules.
var compileMutants = []Mutant{
	{"egress-any-from-ingress", 3, "policy/compile/compiler.go", `EgressAny: c.hasAny(s.Egress)`, `EgressAny: c.hasAny(s.Ingress)`, "a rule without to would not be looked up", corpus},
	{"any-port-is-tcp", 9, "policy/compile/row.go", `claim{0, interval{0, lastPort, r.ID}}`, `claim{policy.TCP, interval{0, lastPort, r.ID}}`, "a rule without ports would not allow UDP", corpus},
	{"protocol-alone-is-all", 11, "policy/compile/row.go", `claim{p.Protocol, interval{int(p.First), int(p.Last), rule}}`, `claim{p.Protocol * policy.Protocol(min(p.First, 1)), interval{int(p.First), int(p.Last), rule}}`, "all of UDP would be all of everything", corpus},
	{"egress-name-of-any-protocol", 13, "policy/compile/row.go", `own.Name == p.Name && own.Protocol == p.Protocol`, `own.Name == p.Name`, "the number of a peer's UDP port would be open for TCP", corpus},
	{"name-has-one-number", 13, "policy/compile/row.go", `claims = append(claims, claim{p.Protocol, interval{int(own.Number), int(own.Number), rule}})`, `return append(claims, claim{p.Protocol, interval{int(own.Number), int(own.Number), rule}})`, "of a name used twice one number would be closed", corpus},
	{"protocol-row-hides-all-ports", 16, "policy/compile/row.go", `if c.protocol == protocol || c.protocol == 0 {`, `if c.protocol == protocol {`, "a rule for one port would take away what another allows in all", corpus},
	{"class-row-hides-any-peer", 16, "policy/compile/row.go", `rules := append(b.rules[:0], s.anyPeer...)`, `rules := append(b.rules[:0], s.anyPeer[:len(s.anyPeer)*int(max(1-int64(class.ID), 0))]...)`, "a rule for one peer would take away what another allows to all", corpus},
	{"neighbouring-rules-joined", 16, "policy/compile/row.go", `joined[n-1].rule == v.rule && joined[n-1].hi+1 == v.lo`, `joined[n-1].hi+1 == v.lo`, "the rule next to the deciding one would be shown", corpus},
	{"last-rule-decides", 16, "policy/compile/row.go", `for _, c := range claims {
		if c.protocol == protocol`, `for _, c := range slices.Backward(claims) {
		if c.protocol == protocol`, "the last rule that allows would be shown", corpus},
	{"rows-of-old-sets", 29, "policy/compile/compiler.go", `for _, id := range distinct(sets) {
		c.addRows(c.sets[id], class, u)`, `for _, id := range distinct(sets)[:0] {
		c.addRows(c.sets[id], class, u)`, "a new class would have no rows in the sets that are in force", corpus},
	{"gap-is-joined", 33, "policy/compile/row.go", `joined[n-1].rule == v.rule && joined[n-1].hi+1 == v.lo`, `joined[n-1].rule == v.rule`, "the ports between two ranges would be open", corpus},
	{"overlap-is-lost", 33, "policy/compile/row.go", `v.lo = decided[last].hi + 1`, `v.lo = lastPort + 1`, "of two ranges that overlap the end of one would be closed", corpus},
	{"head-of-overlap-is-lost", 33, "policy/compile/row.go", `if v.lo < decided[last].lo {`, `if v.lo > decided[last].lo {`, "of two ranges that overlap the beginning of one would be closed", corpus},
	{"one-page", 33, "policy/compile/row.go", `row.More = 1`, `row.More = 0`, "of many ranges those with high numbers would be closed", corpus},
	{"pages-overwrite", 33, "policy/compile/row.go", `key.Page++`, `key.Page += 0`, "of many ranges those with low numbers would be closed", corpus},
}

// orderMutants break the order in which the datapath writes.
var orderMutants = []Mutant{
	{"flip-without-epoch", 29, "agent/datapath/apply.go", `if flipped || u.MoveEpoch {`, `if flipped && u.MoveEpoch {`, "live flows of a pod with new policies would keep the old verdict", Suite{"./agent/datapath", "^(TestOrderOfWrites|TestEpochStays|TestFailedFlip|TestMerge)$"}},
	{"put-untold", 16, "agent/datapath/store.go", `if err := errors.Join(err, s.revision.move()); err != nil {
			return done,`, `if err != nil {
			return done,`, "what was denied would stay so for a second after a policy allows it", Suite{"./agent/datapath", "^TestRevision$"}},
	{"put-singly-untold", 16, "agent/datapath/store.go", `if err := errors.Join(err, s.revision.move()); err != nil {
			return i,`, `if err != nil {
			return i,`, "the same on kernels without batches", Suite{"./agent/datapath", "^TestRevision$"}},
	{"remove-untold", 16, "agent/datapath/store.go", `if err := s.revision.move(); err != nil {
			return removed, err
		}
		removed += n`, `if err := error(nil); err != nil {
			return removed, err
		}
		removed += n`, "the same where a policy is gone", Suite{"./agent/datapath", "^TestRevision$"}},
	{"class-right-after-flip", 29, "agent/datapath/apply.go", `if err == nil && d.unsettled && len(`, `if err == nil && !d.unsettled && len(`, "a program that read the endpoint before a flip would find a class that the old set does not know", Suite{"./agent/datapath", "^TestClassAfterFlip$"}},
	{"hook-judges-before-finish", 29, "agent/datapath/bind.go", `if b.handover && !d.finished {`, `if b.handover && d.finished {`, "while an agent starts, what a pod may call would be denied behind translation", Suite{"./agent/datapath", "^TestForwardBeforeFinish$"}},
	{"flows-of-others-carried", 21, "agent/datapath/carry.go", `if b == nil || !b.sends(r.Key.Local) {`, `if b == nil {`, "an upgrade would give a pod the open flows of the last one with its veth's number", Suite{"./agent/datapath", "^TestFlowsAreCarriedOver$"}},
	{"flows-not-carried", 26, "agent/datapath/carry.go", `return &carrier{d: d, left: d.openLeftFlows()}`, `return &carrier{d: d}`, "an upgrade would take answers to open connections for new ones", Suite{"./agent/datapath", "^TestFlowsAreCarriedOver$"}},
	{"epoch-stays-where-both-move", 29, "agent/datapath/apply.go", `if flipped || u.MoveEpoch {`, `if flipped != u.MoveEpoch {`, "a change of policies and addresses at once would leave live flows with the old verdict", Suite{"./agent/datapath", "^TestOrderOfWrites$"}},
}

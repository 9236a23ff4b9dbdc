// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	testnode "github.com/weirnet/weir/test/node"
)

// Churning selects the churned pods.
const Churning = churnKey + "=yes"

// Key is what the class of a pod's addresses depends on: the terms that match
// it, written out. Empty: none does.
func Key(p *corev1.Pod) string {
	var number int
	if _, err := fmt.Sscanf(p.Namespace, "app-%d", &number); err != nil {
		return ""
	}
	key := ""
	if p.Labels[roleKey] == peerRole {
		key = fmt.Sprintf("team %d", number%teams)
	}
	if p.Labels[appKey] == "web" {
		key += " web of " + p.Namespace
	}
	return key
}

// Ranges are the addresses that only pods have.
func Ranges() []netip.Prefix {
	list := []netip.Prefix{FakePods4, FakePods6}
	for _, a := range testnode.Dual(1) {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		list = append(list, netip.PrefixFrom(a, bits).Masked())
	}
	return list
}

// Call from a local pod on Port, to another local one or to a given pod.
type Call struct {
	From, To int
	Pass     bool
}

// LocalCalls: number 0 and 2*teams are peers of one team; teams is of the team
// and no peer; 1 is of another team.
func LocalCalls() []Call {
	return []Call{{0, 2 * teams, true}, {2 * teams, 0, true}, {0, teams, false}, {0, 1, false}, {1, 2*teams + 1, true}}
}

// ChurnCalls to a churned pod: its own team may call it if it is a peer, and
// no other team.
func ChurnCalls(p *corev1.Pod) []Call {
	var number int
	if _, err := fmt.Sscanf(p.Namespace, "app-%d", &number); err != nil {
		return nil
	}
	team := number % teams
	return []Call{{From: team, Pass: Key(p) != ""}, {From: (team + 1) % teams}}
}

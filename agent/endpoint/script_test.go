// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

// node is a Tracker and the maps that follow its Changes.
type node struct {
	t     *testing.T
	tr    *Tracker
	now   time.Time
	maps  map[int]Binding
	where string
}

func newNode(t *testing.T, opts TrackerOptions) *node {
	n := &node{t: t, now: time.Unix(1000, 0), maps: make(map[int]Binding)}
	opts.Now = func() time.Time { return n.now }
	n.tr = NewTracker(opts)
	return n
}

// play runs steps that are separated by semicolons; see step.
func (n *node) play(script string) {
	n.t.Helper()
	for _, s := range strings.Split(script, ";") {
		n.where = s
		n.step(strings.Fields(s))
		n.apply()
	}
}

// step: sync | pods | links | pod NAME UID ADDRS | host … | done … | rmpod NAME
// | veth|netkit|ipvlan|inner INDEX | hint INDEX ADDRS | gone INDEX
// | ann|ann! INDEX NAME UID ADDRS (ann! must fail) | retract NAME UID
// | rec INDEX ADDRS [NAME UID] | refuse INDEX | wait | audit. "-": nothing.
func (n *node) step(f []string) {
	n.t.Helper()
	tr := n.tr
	arg := func(i int) string { return f[i] }
	switch f[0] {
	case "sync":
		n.pods(policy.Batch{Synced: true})
		tr.Observe(Event{Listed: true})
	case "pods":
		n.pods(policy.Batch{Synced: true})
	case "links":
		tr.Observe(Event{Listed: true})
	case "pod", "host", "done":
		p := &policy.Pod{ObjectKey: keyOf(arg(1)), UID: uid(arg(2)), IPs: addrs(arg(3)), HostNetwork: f[0] == "host", Terminal: f[0] == "done"}
		n.pods(policy.Batch{Pods: []*policy.Pod{p}})
	case "rmpod":
		n.pods(policy.Batch{DeletedPods: []policy.ObjectKey{keyOf(arg(1))}})
	case "veth", "netkit", "ipvlan", "inner":
		l := Link{Index: number(arg(1)), Name: f[0] + arg(1), Kind: f[0], Elsewhere: f[0] != "inner"}
		if f[0] == "inner" {
			l.Kind = vethKind
		}
		tr.Observe(Event{Links: []Link{l}})
	case "hint":
		tr.Observe(Event{Hints: []Hint{{Index: number(arg(1)), Addrs: addrs(arg(2))}}})
	case "gone":
		tr.Observe(Event{Gone: []int{number(arg(1))}})
	case "ann", "ann!":
		err := tr.Announce(Announcement{Index: number(arg(1)), Pod: keyOf(arg(2)), UID: uid(arg(3)), Addrs: addrs(arg(4))})
		if (err != nil) != (f[0] == "ann!") {
			n.t.Errorf("%s: %v", n.where, err)
		}
	case "retract":
		tr.Retract(keyOf(arg(1)), uid(arg(2)))
	case "rec":
		r := Recovered{Index: number(arg(1)), Addrs: addrs(arg(2))}
		if len(f) > 3 {
			r.Pod, r.UID = keyOf(arg(3)), uid(arg(4))
		}
		tr.Recover([]Recovered{r})
		n.maps[r.Index] = Binding{Index: r.Index, Addrs: r.Addrs, State: Enforced}
	case "refuse":
		tr.Refuse(number(arg(1)), "redirected")
	case "wait":
		n.now = n.now.Add(time.Hour)
	case "audit":
		tr.SetModes(func(string) bool { return true }, nil)
	default:
		n.t.Fatalf("no such step: %q", n.where)
	}
}

// pods of a batch: what is said to be of another node changes nothing.
func (n *node) pods(b policy.Batch) {
	n.t.Helper()
	if n.tr.SetPods(b) {
		return
	}
	if c := n.tr.Changes(); !c.Empty() {
		n.t.Errorf("%s: no pod of this node, and yet %+v", n.where, c)
	}
}

func keyOf(name string) policy.ObjectKey { return policy.ObjectKey{Namespace: "shop", Name: name} }

func uid(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func number(s string) int {
	i, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return i
}

// addrs: "1,2,f" are 10.0.0.1, 10.0.0.2 and fd00::f.
func addrs(s string) []netip.Addr {
	var out []netip.Addr
	for _, part := range strings.Split(s, ",") {
		switch {
		case part == "-":
		case part == "LL":
			out = append(out, netip.MustParseAddr("fe80::1"))
		case part[0] >= 'a':
			out = append(out, netip.MustParseAddr("fd00::"+part))
		default:
			out = append(out, netip.MustParseAddr("10.0.0."+part))
		}
	}
	return out
}

// apply follows Changes one by one; no address may be on two interfaces at any
// time.
func (n *node) apply() {
	n.t.Helper()
	for range Rounds {
		c := n.tr.Changes()
		if c.Empty() {
			return
		}
		n.bring(c)
	}
	if c := n.tr.Changes(); !c.Empty() {
		n.t.Errorf("%s: after %d rounds there is still %+v", n.where, Rounds, c)
	}
}

// bring changes into force.
func (n *node) bring(c Changes) {
	n.t.Helper()
	for _, i := range c.Unbind {
		delete(n.maps, i)
	}
	for _, b := range c.Bind {
		for _, a := range b.Addrs {
			for i, other := range n.maps {
				if i != b.Index && slices.Contains(other.Addrs, a) && !rebound(c, i) {
					n.t.Errorf("%s: %s is on %d and %d", n.where, a, i, b.Index)
				}
			}
		}
		n.maps[b.Index] = b
	}
	seen := make(map[netip.Addr]int)
	for i, b := range n.maps {
		for _, a := range b.Addrs {
			if seen[a] != 0 {
				n.t.Errorf("%s: after it %s is on %d and %d", n.where, a, i, seen[a])
			}
			seen[a] = i
		}
	}
}

// rebound: the interface gets another binding in the same Changes. Two that
// swap addresses cannot both go first.
func rebound(c Changes, index int) bool {
	return slices.ContainsFunc(c.Bind, func(b Binding) bool { return b.Index == index })
}

func (n *node) state() string {
	var out []string
	for _, i := range slices.Sorted(maps.Keys(n.maps)) {
		b := n.maps[i]
		s := fmt.Sprintf("%d %s", i, b.State)
		if b.State == NotReady {
			s = fmt.Sprintf("%d closed", i)
		}
		if b.Open {
			s = fmt.Sprintf("%d open", i)
		}
		if b.Pod.Name != "" {
			s += " " + b.Pod.Name
		}
		for k, a := range b.Addrs {
			text := strings.TrimPrefix(strings.TrimPrefix(a.String(), "10.0.0."), "fd00::")
			if k == 0 {
				s += " " + text
			} else {
				s += "," + text
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

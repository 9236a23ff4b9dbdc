// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirnet/weir/policy"
)

// web is a local subject w that takes TCP 80 from pods app=c of its namespace.
const web = "ns a env=p; pod a/w 10.0.0.1 app=w; policy a/n app=w in=pods(app=c)|80;"

func TestDeltas(t *testing.T) {
	for _, row := range []struct{ name, before, change, want string }{
		{"pod that no term sees", web, "pod a/x 10.0.0.2 app=x there", ""},
		{"pod of a known term", web, "pod a/c 10.0.0.2 app=c there", "10.0.0.2=1"},
		{"dual stack", web, "pod a/c 10.0.0.2,2001:db8::2 app=c there", "10.0.0.2=1 2001:db8::2=1"},
		{"IPv4 in IPv6 form is IPv4", web, "pod a/c ::ffff:10.0.0.2 app=c there", "10.0.0.2=1"},
		{"pod goes", web + "pod a/c 10.0.0.2 app=c there", "-pod a/c", "10.0.0.2=0 epoch"},
		{"pod ends", web + "pod a/c 10.0.0.2 app=c there", "pod a/c 10.0.0.2 app=c there done", "10.0.0.2=0 epoch"},
		{"pod loses its address", web + "pod a/c 10.0.0.2 app=c there", "pod a/c app=c there", "10.0.0.2=0 epoch"},
		{"pod changes its address", web + "pod a/c 10.0.0.2 app=c there", "pod a/c 10.0.0.3 app=c there", "10.0.0.2=0 10.0.0.3=1 epoch"},
		{"other namespace", web, "pod b/c 10.0.0.2 app=c there", ""},
		{"host network is nobody's peer", web, "pod a/c 10.0.0.2 app=c there host", ""},
		{"relabelled away", web + "pod a/c 10.0.0.2 app=c there", "pod a/c 10.0.0.2 app=d there", "10.0.0.2=0 epoch"},
		{"relabelled towards", web + "pod a/c 10.0.0.2 app=d there", "pod a/c 10.0.0.2 app=c there", "10.0.0.2=1"},
		{"label that no selector names", web + "pod a/c 10.0.0.2 app=c there", "pod a/c 10.0.0.2 app=c there rev=2", ""},
		{"same pod again", web, "pod a/w 10.0.0.1 app=w", ""},
		{"same policy again", web, "policy a/n app=w in=pods(app=c)|80", ""},
		{"local pod is told", web, "pod a/x 10.0.0.2 app=x", "a/x:--"},
		{"local pod without address is told", web, "pod a/x app=w", "a/x:1-"},
		{"local pod of host network is not", web, "pod a/x 10.0.0.2 app=w host", ""},
		{"local pod ends", web, "pod a/w 10.0.0.1 app=w done", "-a/w"},
		{"local pod goes", web, "-pod a/w", "-a/w"},
		{"another pod of the same name", web, "pod a/w 10.0.0.1 app=w uid:2", "a/w:1-"},
		{"second policy", web, "policy a/m app=w in", "a/w:2-"},
		{"last policy goes", web, "-policy a/n", "a/w:--"},
		{"policy that selects nothing here", web, "policy b/n in=10.0.0.0/8|*", ""},
		{"unknown objects go", web, "-policy b/n; -pod b/p; -ns b; -service b/s", ""},

		{"namespace relabelled", "ns b env=p; pod b/c 10.0.0.2 there;" + "pod a/w; policy a/n in=ns(env=p)|*", "ns b env=q", "10.0.0.2=0 epoch"},
		{"namespace relabelled, unseen", "ns b env=p; pod b/c 10.0.0.2 there;" + "pod a/w; policy a/n in=ns(env=p)|*", "ns b env=p x=y", ""},
		{"namespace goes first", "ns b env=p; pod b/c 10.0.0.2 there;" + "pod a/w; policy a/n in=ns()|*", "-ns b", "10.0.0.2=0 epoch"},
		{"namespace comes last", "pod b/c 10.0.0.2 there;" + "pod a/w; policy a/n in=ns()|*", "ns b", "10.0.0.2=1"},
		{"own namespace needs no labels", "pod a/c 10.0.0.2 there; pod a/w app=w", "policy a/n app=w in=pods()|*", "10.0.0.2=1 a/w:1-"},

		{"service", web, "service a/s 10.96.0.1", "10.96.0.1=0S"},
		{"service on a pod's address", web + "pod a/c 10.0.0.2 app=c there", "service a/s 10.0.0.2", "10.0.0.2=1S"},
		{"service goes", web + "service a/s 10.96.0.1", "-service a/s", "10.96.0.1=0"},
		{"one of two services goes", web + "service a/s 10.96.0.1; service a/r 10.96.0.1", "-service a/s", ""},
		{"service moves", web + "service a/s 10.96.0.1", "service a/s 10.96.0.2", "10.96.0.1=0 10.96.0.2=0S"},
		{"service in a block", "pod a/w; policy a/n out=10.0.0.0/8|*", "service a/s 10.96.0.1", "10.96.0.1=1S"},
		{"service, then a block", "pod a/w; service a/s 10.96.0.1", "policy a/n out=10.0.0.0/8|*", "10.96.0.1=1S 10.0.0.0/8=1 a/w:-1"},

		{"block", "pod a/w", "policy a/n in=10.0.0.0/8|*", "10.0.0.0/8=1 a/w:1-"},
		{"block with except", "pod a/w", "policy a/n in=10.0.0.0/8-10.1.0.0/16|*", "10.0.0.0/8=1 10.1.0.0/16=0 a/w:1-"},
		{"all of IPv4", "pod a/w", "policy a/n in=0.0.0.0/0|*", "0.0.0.0/0=1 a/w:1-"},
		{"all of IPv6 is not the link", "pod a/w", "policy a/n in=::/0|*", "::/0=1 a/w:1-"},
		{"link-local block", "pod a/w", "policy a/n in=fe80::/64|*", "fe80::/64=1 a/w:1-"},
		{"IPv4 written as IPv6", "pod a/w", "policy a/n in=::ffff:10.0.0.0/104|*", "a/w:1-"},
		{"pod in a block has no entry", "pod a/w; policy a/n in=10.0.0.0/8|*", "pod b/c 10.0.0.2", "b/c:--"},
		{"pod in a block and a term", web + "policy a/m app=w in=10.0.0.0/8|*", "pod a/c 10.0.0.2 app=c there", "10.0.0.2=2"},
		{"and goes", web + "policy a/m app=w in=10.0.0.0/8|*; pod a/c 10.0.0.2 app=c there", "-pod a/c", "10.0.0.2=1 epoch"},

		{"address in two pods", web + "pod a/c 10.0.0.2 app=c there", "pod a/d 10.0.0.2 app=d there", "10.0.0.2=0 epoch"},
		{"and in one again", web + "pod a/c 10.0.0.2 app=c there; pod a/d 10.0.0.2 app=d there", "-pod a/d", "10.0.0.2=1"},
		{"and of the host", web + "pod a/c 10.0.0.2 app=c there", "pod a/d 10.0.0.2 there host", ""},
		{"link-local address is nobody's", web, "pod a/c fe80::1 app=c there", ""},
		{"reuse in one batch", web + "pod a/c 10.0.0.2 app=c there", "-pod a/c; pod a/d 10.0.0.2 app=c there", ""},
		{"reuse by another class", web + "pod a/c 10.0.0.2 app=c there", "-pod a/c; pod a/d 10.0.0.2 app=d there", "10.0.0.2=0 epoch"},

		{"named port of a peer", "pod a/w; policy a/n out=pods(app=c)|web", "pod a/c 10.0.0.2 app=c web:80 there", "10.0.0.2=1+web:80"},
		{"name that no term asks", "pod a/w; policy a/n out=pods(app=c)|web", "pod a/c 10.0.0.2 app=c dns:53 there", "10.0.0.2=1"},
		{"named port, other number", "pod a/w; policy a/n out=pods(app=c)|web; pod a/c 10.0.0.2 app=c web:80 there", "pod a/c 10.0.0.2 app=c web:81 there", "10.0.0.2=1+web:81 epoch"},
		{"named port of every peer", "pod a/w; policy a/n out=*|web", "pod b/c 10.0.0.2 web:80 there", "10.0.0.2=1+web:80"},
		{"named port in a block", "pod a/w; pod b/c 10.0.0.2 web:80 there", "policy a/n out=10.0.0.0/8|web", "10.0.0.2=1+web:80 10.0.0.0/8=1 a/w:-1"},
		{"name asked of a known term", "pod a/w; policy a/n out=pods(app=c)|80; pod a/c 10.0.0.2 app=c web:80 there", "policy a/m out=pods(app=c)|web", "10.0.0.2=1+web:80 a/w:-2"},
		{"name asked of a known block", "pod a/w; policy a/n out=10.0.0.0/8|80; pod a/c 10.0.0.2 app=c web:80 there", "policy a/m out=10.0.0.0/8|web", "10.0.0.2=1+web:80 a/w:-2"},
		{"ingress names ask nothing of peers", "pod a/w; policy a/n in=pods(app=c)|web", "pod a/c 10.0.0.2 app=c web:80 there", "10.0.0.2=1"},
		{"subject's named port", "pod a/w; policy a/n in=*|web", "pod a/w web:80", "a/w:1-"},
		{"subject's port that no rule names", "pod a/w; policy a/n in=*|web", "pod a/w dns:53", ""},
		{"rule that can match nothing", "pod a/w; pod a/c 10.0.0.2 there", "policy a/n in=pods()|90-80", "a/w:1-"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := New("here", Marks{})
			for step := range strings.SplitSeq(row.before, ";") {
				e.Apply(batch(step))
				e.Collect()
			}
			if got := summary(e, e.Apply(batch(row.change))); got != row.want {
				t.Errorf("change %q:\n got %q\nwant %q", row.change, got, row.want)
			}
			if again := summary(e, e.Apply(batch(row.change))); again != "" {
				t.Errorf("the same batch again: %q", again)
			}
		})
	}
}

func TestCollect(t *testing.T) {
	for _, row := range []struct{ name, before, change, want string }{
		{"nothing to do", web, "", ""},
		{"class of a pod that went", web + "pod a/c 10.0.0.2 app=c there", "-pod a/c", "-10.0.0.2 -classes:1"},
		{"class that others have", web + "pod a/c 10.0.0.2 app=c there; pod a/d 10.0.0.3 app=c there", "-pod a/c", "-10.0.0.2"},
		{"policy with its terms", web + "pod a/c 10.0.0.2 app=c there", "-policy a/n", "10.0.0.2=0 -10.0.0.2 -classes:1 -rules:1 -sets:1"},
		{"policy whose term another has", web + "pod a/c 10.0.0.2 app=c there; policy a/m app=w in=pods(app=c)|81", "-policy a/n", "-rules:1 -sets:1"},
		{"last subject", web, "-pod a/w", "-rules:1 -sets:1"},
		{"block", "pod a/w; policy a/n in=10.0.0.0/8-10.1.0.0/16|*", "-policy a/n", "10.0.0.0/8=0 -10.0.0.0/8 -10.1.0.0/16 -classes:1 -rules:1 -sets:1"},
		{"inner block", "pod a/w; policy a/m in=10.0.0.0/8|*; policy a/n in=10.1.0.0/16|*", "-policy a/n", "10.1.0.0/16=1 -10.1.0.0/16 -classes:1 -rules:1 -sets:1"},
		{"outer block, same address", "pod a/w; policy a/m in=10.0.0.0/8|*; policy a/n in=10.0.0.0/16|*", "-policy a/m", "10.0.0.0/16=1 10.0.0.0/8=0 -10.0.0.0/8 -classes:2 -rules:1 -sets:1"},
		{"all of IPv4 stays", "pod a/w; policy a/n in=0.0.0.0/0|*", "-policy a/n", "0.0.0.0/0=0 -classes:1 -rules:1 -sets:1"},
		{"entry becomes needless", "pod a/w; pod b/c 10.0.0.2 x=y there; policy a/n in=10.0.0.0/8|*; policy a/m in=ns()pods(x=y)|*; ns b", "-policy a/m", "10.0.0.2=1 -10.0.0.2 -classes:1 -rules:1 -sets:1"},
		{"name", "pod a/w; pod a/c 10.0.0.2 app=c web:80 there; policy a/n out=pods(app=c)|80; policy a/m out=pods(app=c)|web", "-policy a/m", "10.0.0.2=1 -classes:1 -rules:1 -sets:1"},
		{"service", "service a/s 10.96.0.1", "-service a/s", "-10.96.0.1"},
		{"policy changed and back", web, "policy a/n app=w in; policy b/n in", "-rules:1 -sets:1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := New("here", Marks{})
			for step := range strings.SplitSeq(row.before, ";") {
				e.Apply(batch(step))
				e.Collect()
			}
			e.Apply(batch(row.change))
			d := e.Collect()
			words := strings.Fields(summary(e, d))
			first := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") && strings.Contains(w, "s:") })
			if first >= 0 {
				slices.Sort(words[first:])
			}
			if got := strings.Join(words, " "); got != row.want {
				t.Errorf("\n got %q\nwant %q", got, row.want)
			}
			if d := e.Collect(); !d.Empty() {
				t.Errorf("a second Collect changes %q", summary(e, d))
			}
		})
	}
}

// TestTermsOutliveTheirPolicy: step 2 of an apply must not take from addresses
// what the sets in force before step 4 say of them.
func TestTermsOutliveTheirPolicy(t *testing.T) {
	e := New("here", Marks{})
	e.Apply(batch(web + "pod a/c 10.0.0.2 app=c there"))
	before := e.Class(netip.MustParseAddr("10.0.0.2"))
	if d := e.Apply(batch("policy a/n app=w in=pods(app=d)|80")); len(d.Peers) > 0 || d.MoveEpoch {
		t.Errorf("the change of policy wrote peers: %q", summary(e, d))
	}
	if before == 0 || e.Class(netip.MustParseAddr("10.0.0.2")) != before {
		t.Error("10.0.0.2 lost its class before Collect")
	}
	if d := e.Collect(); summary(e, d) == "" || e.Class(netip.MustParseAddr("10.0.0.2")) != 0 {
		t.Errorf("Collect kept the class: %q", summary(e, d))
	}
}

func TestIdsAreNeverReused(t *testing.T) {
	e := New("here", Marks{Class: 10, Set: 20, Rule: 30})
	seen := map[any]bool{}
	claim := func(id any) {
		if seen[id] {
			t.Errorf("%T %v is given twice", id, id)
		}
		seen[id] = true
	}
	for range 3 {
		d := e.Apply(batch(web + "pod a/c 10.0.0.2 app=c there"))
		for _, c := range d.NewClasses {
			claim(c.ID)
		}
		for _, s := range d.NewSets {
			claim(s.ID)
			for _, r := range s.Rules {
				claim(r.ID)
			}
		}
		e.Apply(batch("-policy a/n; -pod a/c"))
		e.Collect()
	}
	if want := (Marks{Class: 13, Set: 23, Rule: 33}); e.Marks() != want {
		t.Errorf("marks are %+v, want %+v", e.Marks(), want)
	}
	if len(seen) != 9 {
		t.Errorf("%d ids were given, want 9", len(seen))
	}
}

func TestNodeAddrs(t *testing.T) {
	e := New("here", Marks{})
	e.Apply(batch(""))
	for _, row := range []struct{ addrs, want string }{
		{"192.0.2.1,192.0.2.255", "192.0.2.1=0N 192.0.2.255=0N"},
		{"192.0.2.1,192.0.2.255,::ffff:192.0.2.1", ""},
		{"192.0.2.1,fe80::1%eth0", "192.0.2.255=0 fe80::1=0N"},
	} {
		if got := summary(e, e.SetNodeAddrs(addrs(row.addrs))); got != row.want {
			t.Errorf("%s: %q, want %q", row.addrs, got, row.want)
		}
	}
	if got := summary(e, e.Apply(batch("service a/s 192.0.2.1"))); got != "192.0.2.1=0SN" {
		t.Errorf("service on the node's address: %q", got)
	}
}

func TestFirstDeltaHasThePermanentPrefixes(t *testing.T) {
	e := New("here", Marks{})
	if got := summary(e, e.Apply(policy.Batch{})); got != "0.0.0.0/0=0 fe80::/10=0" {
		t.Errorf("first delta: %q", got)
	}
	if d := e.Apply(policy.Batch{}); !d.Empty() {
		t.Errorf("second delta: %q", summary(e, d))
	}
}

func TestSetsAreShared(t *testing.T) {
	for _, row := range []struct {
		name, line string
		shared     bool
	}{
		{"same policies", "pod a/p app=x; pod a/q app=x b=c; policy a/n in; policy a/m app=x in", true},
		{"other policies", "pod a/p app=x; pod a/q; policy a/n in; policy a/m app=x in", false},
		{"same content, other namespace", "pod a/p; pod b/q; policy a/n in; policy b/n in", false},
		{"same named port", "pod a/p web:80; pod a/q web:80 dns:53; policy a/n in=*|web", true},
		{"other number of a named port", "pod a/p web:80; pod a/q web:81; policy a/n in=*|web", false},
		{"other number, not named", "pod a/p web:80; pod a/q web:81; policy a/n in=*|80", true},
		{"other number, named in egress only", "pod a/p web:80; pod a/q web:81; policy a/n in out=*|web", true},
	} {
		e := New("here", Marks{})
		d := e.Apply(batch(row.line))
		if len(d.Subjects) != 2 || (d.Subjects[0].Ingress == d.Subjects[1].Ingress) != row.shared || d.Subjects[0].Ingress == 0 {
			t.Errorf("%s: %+v, want shared %t", row.name, d.Subjects, row.shared)
		}
	}
}

// TestProfilesKeepTheirPods removes pods that share labels in an order that
// moves others to their place.
func TestProfilesKeepTheirPods(t *testing.T) {
	e := New("here", Marks{})
	e.Apply(batch("ns a; pod a/w; pod a/1 10.0.0.1 there; pod a/2 10.0.0.2 there; pod a/3 10.0.0.3 there; policy a/n in=ns(env=p)|*"))
	e.Apply(batch("-pod a/1"))
	e.Apply(batch("-pod a/3"))
	if got := summary(e, e.Apply(batch("ns a env=p"))); got != "10.0.0.2=1" {
		t.Errorf("the namespace relabelled: %q", got)
	}
}

func TestQueries(t *testing.T) {
	e := New("here", Marks{})
	d := e.Apply(batch(web + "policy a/m in=*|web out=*|*; pod a/w 10.0.0.1 app=w web:80"))
	set := e.Set(d.Subjects[0].Ingress)
	if set == nil || len(set.Policies) != 2 || set.Policies[0].Name != "m" || set.Policies[1].Name != "n" {
		t.Fatalf("set %+v, want policies m, n", set)
	}
	if len(set.Ports) != 1 || set.Ports[0].Number != 80 || set.Rules[0].Ports[0] != (policy.Port{Protocol: policy.TCP, First: 80, Last: 80}) {
		t.Errorf("the named port is not resolved: %+v", set)
	}
	ref, content, ok := e.Rule(set.Rules[1].ID)
	if !ok || ref != (policy.RuleRef{Policy: policy.ObjectKey{Namespace: "a", Name: "n"}}) || content != set.Policies[1] {
		t.Errorf("rule: %+v %v %t", ref, content, ok)
	}
	if ref, _, ok := e.Rule(e.Set(d.Subjects[0].Egress).Rules[0].ID); !ok || ref.Direction != policy.Egress || ref.Policy.Name != "m" {
		t.Errorf("egress rule: %+v", ref)
	}
	if _, _, ok := e.Rule(999); ok || e.Set(999) != nil {
		t.Error("an unknown id is known")
	}
	if got := e.Policies(policy.ObjectKey{Namespace: "a", Name: "w"}); len(got) != 2 || got[0].Name != "m" {
		t.Errorf("policies: %v", got)
	}
	for _, change := range []string{"pod a/w app=w host", "pod a/w app=w done", "-pod a/w"} {
		other := New("here", Marks{})
		other.Apply(batch(web))
		other.Apply(batch(change))
		if got := other.Policies(policy.ObjectKey{Namespace: "a", Name: "w"}); len(got) != 0 {
			t.Errorf("%s: policies %v select it", change, got)
		}
	}
	if len(e.Sets()) != 2 || len(e.Subjects()) != 1 || e.Subjects()[0] != d.Subjects[0] {
		t.Errorf("sets %v, subjects %v", e.Sets(), e.Subjects())
	}
	e.Apply(batch("-policy a/n"))
	if e.Set(set.ID) == nil {
		t.Error("the old set is gone before Collect: flows still name it")
	}
	e.Collect()
	if _, _, ok := e.Rule(set.Rules[1].ID); ok || e.Set(set.ID) != nil {
		t.Error("the old set and rule outlive Collect")
	}
}

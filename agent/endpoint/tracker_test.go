// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

// What the maps hold after the steps: "INDEX enforced|closed POD ADDRS".
func TestTracker(t *testing.T) {
	for _, row := range []struct{ name, script, want string }{
		{"a hint finds the pod", "sync; pod a u1 1; veth 5; hint 5 1", "5 enforced a 1"},
		{"in any order", "veth 5; hint 5 1; pod a u1 1; sync", "5 enforced a 1"},
		{"the hint before the pod", "sync; veth 5; hint 5 1; pod a u1 1", "5 enforced a 1"},
		{"all addresses of the status", "sync; pod a u1 1,f; veth 5; hint 5 1", "5 enforced a 1,f"},
		{"and no others", "sync; pod a u1 1; veth 5; hint 5 1,9", "5 enforced a 1"},
		{"link-local says nothing", "sync; pod a u1 1; veth 5; hint 5 LL", ""},
		{"and then the address", "sync; pod a u1 1; veth 5; hint 5 LL; hint 5 LL,1", "5 enforced a 1"},
		{"foreign veth", "sync; pod a u1 1; veth 5; hint 5 7", ""},
		{"veth within the node", "sync; pod a u1 1; inner 5; hint 5 1", ""},
		{"host network", "sync; host a u1 1; veth 5; hint 5 1", ""},
		{"ended before", "sync; done a u1 1; veth 5; hint 5 1", ""},
		{"no addresses yet", "sync; pod a u1 -; veth 5; hint 5 1", ""},
		{"audit", "audit; sync; pod a u1 1; veth 5; hint 5 1", "5 audited a 1"},
		{"enforce to audit", "sync; pod a u1 1; veth 5; hint 5 1; audit", "5 audited a 1"},

		{"an address added later changes nothing", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1; hint 5 1,2", "5 enforced a 1"},
		{"nor does one that replaces", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1; hint 5 2", "5 enforced a 1"},
		{"even before the pod is known", "sync; veth 5; hint 5 1; hint 5 2; pod a u1 1; pod b u2 2", "5 enforced a 1"},
		{"nor does it harm the victim", "sync; veth 5; hint 5 1,2; pod a u1 1; pod b u2 2; veth 6; hint 6 2", "5 enforced a 1; 6 enforced b 2"},
		{"the first look that names a pod counts", "sync; veth 5; hint 5 9; hint 5 1; pod a u1 1", "5 enforced a 1"},
		{"many looks are bounded", "sync; veth 5;" + strings.Repeat("hint 5 9;", 3) + looks(40) + "pod a u1 1; hint 5 1", ""},

		{"a hint for two pods", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1,2", "5 closed"},
		{"two veths for one pod", "veth 5; hint 5 1; veth 6; hint 6 1; pod a u1 1; sync", "5 closed; 6 closed"},
		{"until one is gone", "veth 5; hint 5 1; veth 6; hint 6 1; pod a u1 1; sync; gone 6", "5 enforced a 1"},
		{"the earlier binding stays", "sync; pod a u1 1; veth 5; hint 5 1; veth 6; hint 6 1", "5 enforced a 1; 6 closed"},
		{"two pods with one address", "sync; pod a u1 1; pod b u2 1; veth 5; hint 5 1", "5 closed"},
		{"the later pod has it too", "sync; pod a u1 1; veth 5; hint 5 1; pod b u2 1,2; veth 6; hint 6 2", "5 enforced a 1; 6 closed"},
		{"and gets it in the end", "sync; pod a u1 1; veth 5; hint 5 1; pod b u2 1,2; veth 6; hint 6 2; gone 5", "6 enforced b 1,2"},

		{"the pod's address moves", "sync; pod a u1 1; veth 5; hint 5 1; pod a u1 2", "5 enforced a 2"},
		{"swap", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1; veth 6; hint 6 2; pod a u1 3; pod b u2 1; pod a u1 2", "5 enforced a 2; 6 enforced b 1"},
		{"to one that is taken", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1; veth 6; hint 6 2; pod a u1 2", "5 closed a; 6 enforced b 2"},
		{"until it is free", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1; veth 6; hint 6 2; pod a u1 2; gone 6", "5 enforced a 2"},
		{"none for a while", "sync; pod a u1 1; veth 5; hint 5 1; pod a u1 -", "5 enforced a 1"},

		{"the pod ends", "sync; pod a u1 1; veth 5; hint 5 1; done a u1 1", "5 closed a"},
		{"and is deleted", "sync; pod a u1 1; veth 5; hint 5 1; done a u1 1; rmpod a", "5 closed a"},
		{"its address is another's", "sync; pod a u1 1; veth 5; hint 5 1; rmpod a; pod b u2 1; veth 6; hint 6 1", "5 closed a; 6 enforced b 1"},
		{"before it is gone", "sync; pod a u1 1; veth 5; hint 5 1; pod b u2 1; veth 6; hint 6 1; done a u1 1", "5 closed a; 6 enforced b 1"},
		{"its name is another's", "sync; pod a u1 1; veth 5; hint 5 1; pod a u2 1; veth 6; hint 6 1", "5 closed a; 6 enforced a 1"},
		{"it was a gap in the list", "sync; pod a u1 1; veth 5; hint 5 1; rmpod a; pod a u1 1", "5 enforced a 1"},
		{"the veth goes", "sync; pod a u1 1; veth 5; hint 5 1; gone 5", ""},
		{"and a new one comes", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1", "6 enforced a 1"},
		{"a new veth, and then another pod with the address", "sync; pod a u1 1; veth 5; hint 5 1; veth 6; hint 6 1; gone 5; rmpod a; pod b u2 1", "6 enforced b 1"},
		{"the other pod first", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1; pod b u2 1; rmpod a", "6 enforced b 1"},
		{"closed while both are known", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1; pod b u2 1", "6 closed"},
		{"until the first has ended", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1; pod a u1 1; done a u1 1; pod b u2 1", "6 enforced b 1"},
		{"closed while none is known", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1; rmpod a", "6 closed"},
		{"a new sandbox whose pod changes", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; hint 6 1; pod a u1 1,f", "6 enforced a 1,f"},
		{"without a uid the address counts", "sync; pod a - 1; veth 5; hint 5 1; rmpod a; pod b - 1", "5 enforced b 1"},
		{"and closes what nobody has", "sync; pod a - 1; veth 5; hint 5 1; rmpod a", "5 closed"},
		{"for the one veth that has it", "sync; pod a - 1; veth 5; hint 5 1; rmpod a; veth 6; hint 6 1; pod b - 1", "5 closed; 6 closed"},

		{"announced before all", "sync; veth 5; ann 5 a u1 1", "5 closed a 1"},
		{"and then known", "sync; veth 5; ann 5 a u1 1; pod a u1 -", "5 enforced a 1"},
		{"and then with its status", "sync; veth 5; ann 5 a u1 1; pod a u1 1,f", "5 enforced a 1,f"},
		{"before its veth is told", "sync; ann 5 a u1 1; pod a u1 -; veth 5", "5 enforced a 1"},
		{"and retracted", "sync; ann 5 a u1 1; retract a u1; veth 5", ""},
		{"not by another hint", "sync; pod a u1 1; pod b u2 2; veth 5; ann 5 a u1 1; hint 5 2", "5 enforced a 1"},
		{"over a hint", "sync; pod b u2 2; veth 5; hint 5 2; ann 5 a u1 1; pod a u1 1", "5 enforced a 1"},
		{"over a hint elsewhere", "sync; pod a u1 1; veth 5; hint 5 1; veth 6; ann 6 a u1 1", "5 closed; 6 enforced a 1"},
		{"twice", "sync; pod a u1 1; veth 5; ann 5 a u1 1; ann 5 a u1 1", "5 enforced a 1"},
		{"not over an announcement", "sync; pod a u1 1; veth 5; ann 5 a u1 1; ann! 5 b u2 2", "5 enforced a 1"},
		{"not for a taken address", "sync; pod a u1 1; veth 5; ann 5 a u1 1; veth 6; ann 6 b u2 1; pod b u2 1", "5 enforced a 1; 6 closed b"},
		{"until that is free", "sync; pod a u1 1; veth 5; ann 5 a u1 1; veth 6; ann 6 b u2 1; pod b u2 1; rmpod a", "5 closed a; 6 enforced b 1"},
		{"a new sandbox, an old status", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; ann 6 a u1 2", "6 enforced a 2"},
		{"and then the new status", "sync; pod a u1 1; veth 5; hint 5 1; gone 5; veth 6; ann 6 a u1 2; pod a u1 3", "6 enforced a 3"},
		{"of a pod that ended", "sync; done a u1 1; veth 5; ann 5 a u1 1", "5 closed a"},
		{"retracted while known", "sync; pod a u1 1; veth 5; ann 5 a u1 1; retract a u1", "5 enforced a 1"},
		{"retracted and gone", "sync; veth 5; ann 5 a u1 1; retract a u1", "5 closed a"},
		{"of an unknown uid", "sync; pod a u1 1; veth 5; ann 5 a u2 2", "5 closed a 2"},
		{"no pod named", "sync; netkit 5; ann! 5 a u1 1", ""},

		{"recovered, before the lists", "rec 5 1; veth 5", "5 enforced 1"},
		{"one list is not enough", "rec 5 1; veth 5; pods", "5 enforced 1"},
		{"the other neither", "rec 5 1; veth 5; links", "5 enforced 1"},
		{"recovered and found", "rec 5 1; veth 5; pod a u1 1; sync", "5 enforced a 1"},
		{"whatever stands inside now", "rec 5 1; veth 5; hint 5 2; pod a u1 1; pod b u2 2; sync", "5 enforced a 1"},
		{"against another veth", "rec 5 1; veth 4; hint 4 1; veth 5; hint 5 1; pod a u1 1; sync", "4 closed; 5 enforced a 1"},
		{"recovered, no pod", "rec 5 1; veth 5; sync", "5 closed"},
		{"recovered, no veth", "rec 5 1; sync", ""},
		{"recovered by name", "rec 5 1 a u1; veth 5; pod a u2 1; veth 6; hint 6 1; sync", "5 closed a; 6 enforced a 1"},
		{"announced again", "rec 5 1; veth 5; ann 5 a u1 1; pod a u1 1; sync", "5 enforced a 1"},
		{"announced with other addresses", "rec 5 1; veth 5; ann! 5 a u1 2; pod b u2 1; sync", "5 enforced b 1"},

		{"and its pod comes later", "rec 5 1; veth 5; sync; pod a u1 1", "5 enforced a 1"},
		{"its address stays its own meanwhile", "rec 5 1 a u1; veth 5; veth 6; ann 6 b u2 1", "5 enforced 1; 6 closed b"},

		{"a hint of an old status", "sync; pod a u1 3; veth 5; ann 5 a u1 1; veth 6; hint 6 3", "5 enforced a 1; 6 closed"},
		{"a wrong hint never passes again", "sync; pod a u1 1; veth 5; hint 5 1; veth 6; ann 6 a u1 1; rmpod a", "5 closed; 6 closed a"},
		{"the manifest gets a uid", "sync; pod a - 1; veth 5; hint 5 1; pod a u1 1", "5 enforced a 1"},

		{"netkit", "sync; pod a u1 1; netkit 5; hint 5 1", ""},
		{"redirected", "sync; pod a u1 1; veth 5; hint 5 1; refuse 5", ""},
		{"nothing is bound before the lists", "pod a u1 1; veth 5; hint 5 1", "5 closed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, TrackerOptions{})
			n.play(row.script)
			if got := n.state(); got != row.want {
				t.Errorf("%s\n got %s\nwant %s\n%+v", row.script, got, row.want, n.tr.Endpoints())
			}
		})
	}
}

// looks are hints with another address each.
func looks(count int) string {
	var s strings.Builder
	for i := range count {
		fmt.Fprintf(&s, "hint 5 %d;", 100+i)
	}
	return s.String()
}

// What is shown: "NAME POD STATE", and a part of the reason.
func TestEndpoints(t *testing.T) {
	for _, row := range []struct{ name, script, want, why string }{
		{"enforced", "sync; pod a u1 1; veth 5; hint 5 1", "veth5 a enforced", ""},
		{"unmanaged", "sync; veth 5; hint 5 1", "veth5  unmanaged", "no address inside is a pod's"},
		{"not looked into", "sync; veth 5", "veth5  unmanaged", "no address has been seen"},
		{"not elsewhere", "sync; inner 5", "", ""},
		{"conflict", "sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1,2", "veth5  notready,  a notready,  b notready", "pods shop/a and shop/b"},
		{"taken", "sync; pod a u1 1; veth 5; hint 5 1; veth 6; hint 6 1", "veth5 a enforced, veth6  notready", "pod shop/a is bound to veth5"},
		{"ended", "sync; pod a u1 1; veth 5; hint 5 1; done a u1 1", "veth5 a notready", "its pod has ended"},
		{"gone", "sync; pod a u1 1; veth 5; hint 5 1; rmpod a", "veth5 a notready", "its pod is gone"},
		{"another of its name", "sync; pod a u1 1; veth 5; hint 5 1; pod a u2 2", " a notready, veth5 a notready", "no veth with its address"},
		{"announced", "sync; veth 5; ann 5 a u1 1", "veth5 a notready", "announced and not known"},
		{"early", "pod a u1 1; veth 5; hint 5 1", " a notready, veth5  notready", "no veth"},
		{"no veth", "sync; pod a u1 1", " a notready", "no veth with its address"},
		{"no veth for long", "sync; pod a u1 1; wait", " a notready", "no veth with its address"},
		{"host network", "sync; host a u1 1; wait", "", ""},
		{"no address", "sync; pod a u1 -; wait", "", ""},
		{"netkit", "sync; pod a u1 1; netkit 5; hint 5 1", "netkit5 a unenforceable", "is a netkit"},
		{"ipvlan, at first", "sync; pod a u1 1; ipvlan 5", " a notready", "no veth with its address"},
		{"ipvlan", "sync; pod a u1 1; ipvlan 5; wait", " a unenforceable", "ipvlan"},
		{"redirected", "sync; pod a u1 1; veth 5; hint 5 1; refuse 5", "veth5 a unenforceable", "redirected"},
		{"redirected at once", "sync; pod a u1 1; veth 5; refuse 5; hint 5 1", "veth5 a unenforceable", "redirected"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, TrackerOptions{})
			n.play(row.script)
			var got, why []string
			for _, e := range n.tr.Endpoints() {
				got = append(got, fmt.Sprintf("%s %s %s", e.Name, e.Pod.Name, e.State))
				why = append(why, e.Why)
			}
			slices.Sort(got)
			want := strings.Split(row.want, ", ")
			slices.Sort(want)
			if strings.Join(got, ",") != strings.Join(want, ",") || !strings.Contains(strings.Join(why, "|"), row.why) {
				t.Errorf("got %q %q; want %q %q", got, why, row.want, row.why)
			}
		})
	}
}

func TestUnreadyOpen(t *testing.T) {
	for _, row := range []struct{ script, want string }{
		{"pod a u1 1; veth 5; hint 5 1", "5 open"},
		{"sync; veth 5; ann 5 a u1 1", "5 open a 1"},
		{"sync; pod a u1 1; pod b u2 2; veth 5; hint 5 1,2", "5 closed"},
		{"sync; pod a u1 1; veth 5; hint 5 1; rmpod a", "5 closed a"},
		{"sync; pod a - 1; veth 5; hint 5 1; rmpod a", "5 closed"},
		{"sync; pod a u1 1; veth 5; hint 5 1; pod a u1 2; veth 6; hint 6 2", "5 enforced a 2; 6 closed"},
	} {
		n := newNode(t, TrackerOptions{UnreadyOpen: true})
		n.play(row.script)
		if got := n.state(); got != row.want {
			t.Errorf("%s: got %s, want %s", row.script, got, row.want)
		}
	}
}

func TestForwardsAndRename(t *testing.T) {
	n := newNode(t, TrackerOptions{Forwards: func(ns string) bool { return ns == "shop" }})
	n.play("sync; pod a u1 1; veth 5; hint 5 1")
	if b := n.maps[5]; !b.Forwards {
		t.Errorf("%+v", b)
	}
	n.tr.SetLink(Link{Index: 5, Name: "renamed", Kind: vethKind, Elsewhere: true})
	n.tr.SetModes(nil, nil)
	n.apply()
	if b := n.maps[5]; b.Forwards || b.Name != "renamed" || b.State != Enforced {
		t.Errorf("%+v", b)
	}
}

func TestOtherNodesPodsAreSkipped(t *testing.T) {
	n := newNode(t, TrackerOptions{Local: func(node string) bool { return node == "here" }})
	n.tr.SetPods(policy.Batch{Pods: []*policy.Pod{{ObjectKey: keyOf("a"), Node: "there", IPs: addrs("1")}}})
	n.play("sync; veth 5; hint 5 1")
	if len(n.maps) != 0 || len(n.tr.Endpoints()) != 1 {
		t.Errorf("%v %v", n.maps, n.tr.Endpoints())
	}
}

func TestWhoseBatch(t *testing.T) {
	n := newNode(t, TrackerOptions{Local: func(node string) bool { return node == "here" }})
	pod := func(name, node string) []*policy.Pod {
		return []*policy.Pod{{ObjectKey: keyOf(name), Node: node, IPs: addrs("1")}}
	}
	for _, row := range []struct {
		what  string
		batch policy.Batch
		ours  bool
	}{
		{"a pod elsewhere", policy.Batch{Pods: pod("a", "there")}, false},
		{"the end of the first lists", policy.Batch{Synced: true}, true},
		{"a later batch", policy.Batch{Synced: true, Pods: pod("b", "there")}, false},
		{"a pod here", policy.Batch{Synced: true, Pods: pod("c", "here")}, true},
		{"the same again", policy.Batch{Pods: pod("c", "here")}, true},
		{"the end of a pod elsewhere", policy.Batch{DeletedPods: []policy.ObjectKey{keyOf("a")}}, false},
		{"the end of a pod here", policy.Batch{DeletedPods: []policy.ObjectKey{keyOf("c")}}, true},
		{"the same again", policy.Batch{DeletedPods: []policy.ObjectKey{keyOf("c")}}, false},
		{"a pod here", policy.Batch{Pods: pod("d", "here")}, true},
		{"its name elsewhere", policy.Batch{Pods: pod("d", "there")}, true},
		{"one goes as another comes", policy.Batch{DeletedPods: []policy.ObjectKey{keyOf("e")}, Pods: pod("f", "here")}, true},
		{"policies alone", policy.Batch{Policies: []*policy.Policy{{}}}, false},
	} {
		if ours := n.tr.SetPods(row.batch); ours != row.ours {
			t.Errorf("%s: %v, want %v", row.what, ours, row.ours)
		}
	}
}

func TestForgetTellsAgain(t *testing.T) {
	n := newNode(t, TrackerOptions{})
	n.play("sync; pod a u1 1; veth 5; hint 5 1")
	if c := n.tr.Changes(); !c.Empty() {
		t.Errorf("changes without a change: %+v", c)
	}
	n.tr.Forget(5)
	if c := n.tr.Changes(); len(c.Bind) != 1 || c.Bind[0].Index != 5 {
		t.Errorf("after Forget: %+v", c)
	}
	n.tr.Forget(5)
	n.tr.Observe(Event{Gone: []int{5}})
	if c := n.tr.Changes(); len(c.Unbind) != 1 || c.Unbind[0] != 5 {
		t.Errorf("gone after a binding that failed: %+v; what an earlier binding left stays for ever", c)
	}
}

func TestBadAnnouncements(t *testing.T) {
	tr := NewTracker(TrackerOptions{})
	for _, row := range []struct {
		a    Announcement
		want string
	}{
		{Announcement{Index: 5, Pod: policy.ObjectKey{Name: "a"}}, "names no pod"},
		{Announcement{Index: 5, Pod: keyOf("a"), Addrs: addrs("LL")}, "fe80::1 is not an address of a pod"},
		{Announcement{Index: 5, Pod: keyOf("a"), Addrs: []netip.Addr{{}}}, "is not an address of a pod"},
	} {
		if err := tr.Announce(row.a); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v, want %s", row.a, err, row.want)
		}
	}
}

// Whatever comes in whatever order: no address on two interfaces, none
// enforced for a pod that is not there, and nothing left when all is gone.
func TestRandomHistories(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		n := newNode(t, TrackerOptions{})
		for range 60 {
			index, name, ip := 1+r.IntN(4), string(rune('a'+r.IntN(3))), 1+r.IntN(4)
			u := []string{"u1", "u2", "-"}[r.IntN(3)]
			steps := []string{
				fmt.Sprintf("pod %s %s %d", name, u, ip), fmt.Sprintf("pod %s %s %d,%d", name, u, ip, 1+r.IntN(4)),
				fmt.Sprintf("done %s %s %d", name, u, ip), "rmpod " + name,
				fmt.Sprintf("veth %d", index), fmt.Sprintf("veth %d", index), fmt.Sprintf("gone %d", index),
				fmt.Sprintf("hint %d %d", index, ip), fmt.Sprintf("hint %d %d,%d", index, ip, 1+r.IntN(4)),
				fmt.Sprintf("retract %s %s", name, u), "sync",
			}
			n.play(steps[r.IntN(len(steps))])
			if r.IntN(8) == 0 {
				_ = n.tr.Announce(Announcement{Index: index, Pod: keyOf(name), UID: uid(u), Addrs: addrs(fmt.Sprint(ip))})
				n.apply()
			}
			for i, b := range n.maps {
				p := n.tr.pods[b.Pod]
				if b.State == Enforced && (p == nil || p.Terminal || p.UID != b.UID) {
					t.Fatalf("after %s: %d is enforced for %v", n.where, i, b)
				}
			}
		}
		n.play("sync; gone 1; gone 2; gone 3; gone 4")
		if len(n.maps) != 0 || len(n.tr.owners) != 0 {
			t.Fatalf("left: %v %v", n.maps, n.tr.owners)
		}
		if t.Failed() {
			return
		}
	}
}

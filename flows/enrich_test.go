// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// names is a fixed world: Places, Rulebook, and the wall clock.
type names struct {
	asked []policy.Flow
	wall  time.Time
	mono  uint64
	reads int
}

var (
	web     = &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"}, Labels: map[string]string{"app": "web"}}
	db      = &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "data", Name: "db"}}
	dns     = &policy.Service{ObjectKey: policy.ObjectKey{Namespace: "kube-system", Name: "dns"}}
	allow   = &policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "allow-app"}, Direction: policy.Egress, Index: 1}
	closing = []policy.ObjectKey{{Namespace: "shop", Name: "default-deny"}}
	missed  = &Miss{Rule: *allow, Why: "port 443 is not 5432"}
)

func (n *names) Interface(ifindex uint32) (string, *policy.Pod) {
	switch ifindex {
	case 42:
		return "veth42", web
	case 43:
		return "veth43", nil
	}
	return "", nil
}

func (n *names) Owner(a netip.Addr) Owner {
	switch a.String() {
	case "10.1.0.5", "fd00::5":
		return Owner{Identity: PodIdentity, Pod: web}
	case "10.2.0.6", "fd00::6":
		return Owner{Identity: PodIdentity, Pod: db}
	case "192.168.0.1":
		return Owner{Identity: NodeIdentity}
	case "10.96.0.1":
		return Owner{Identity: ServiceIdentity, Service: dns}
	}
	return Owner{}
}

func (n *names) Rule(id uint32) *policy.RuleRef {
	if id == 8 {
		return allow
	}
	return nil
}

func (n *names) Set(id uint32) []policy.ObjectKey {
	if id == 7 {
		return closing
	}
	return nil
}

func (n *names) nearest(f policy.Flow) *Miss {
	n.asked = append(n.asked, f)
	return missed
}

func (n *names) clock() (time.Time, uint64) {
	n.reads++
	return n.wall, n.mono
}

func newEnricher(t testing.TB, n *names) *Enricher {
	t.Helper()
	e, err := NewEnricher(EnricherOptions{Places: n, Rules: n, Clock: n.clock, Nearest: n.nearest})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func raw(text string) [16]byte { return netip.MustParseAddr(text).As16() }

// event is a TCP flow of web to db's port 443, denied by no rule.
func event(change ...func(*bpf.WeirEvent)) *bpf.WeirEvent {
	ev := &bpf.WeirEvent{
		Time: 1000, Ifindex: 42, Local: raw("10.1.0.5"), Remote: raw("10.2.0.6"),
		LocalPort: fromNetwork(40000), RemotePort: fromNetwork(443), Protocol: 6,
		Kind: 1, Direction: 1, Verdict: 0, Reason: 32, Ethertype: fromNetwork(0x0800), Set: 7,
	}
	for _, c := range change {
		c(ev)
	}
	return ev
}

type change = func(*bpf.WeirEvent)

func TestFlowBindsNames(t *testing.T) {
	at := netip.MustParseAddr
	pod := func(addr string, port uint16, p *policy.Pod) Peer {
		return Peer{Addr: at(addr), Port: port, Identity: PodIdentity, Pod: p}
	}
	plain := func(addr string, port uint16, id Identity) Peer {
		return Peer{Addr: at(addr), Port: port, Identity: id}
	}
	vip := &Peer{Addr: at("10.96.0.1"), Port: 53, Identity: ServiceIdentity, Service: dns}
	for _, row := range []struct {
		name                string
		change              change
		source, destination Peer
		service             *Peer
	}{
		{"egress", func(*bpf.WeirEvent) {}, pod("10.1.0.5", 40000, web), pod("10.2.0.6", 443, db), nil},
		{"ingress", func(e *bpf.WeirEvent) { e.Direction, e.Initiator = 0, 1 }, pod("10.2.0.6", 443, db), pod("10.1.0.5", 40000, web), nil},
		{"from node", func(e *bpf.WeirEvent) { e.Remote, e.Initiator = raw("192.168.0.1"), 1 }, plain("192.168.0.1", 443, NodeIdentity), pod("10.1.0.5", 40000, web), nil},
		{"to the world", func(e *bpf.WeirEvent) { e.Remote = raw("1.1.1.1") }, pod("10.1.0.5", 40000, web), plain("1.1.1.1", 443, World), nil},
		{"IPv6", func(e *bpf.WeirEvent) {
			e.Local, e.Remote, e.Ethertype = raw("fd00::5"), raw("fd00::6"), fromNetwork(0x86dd)
		}, pod("fd00::5", 40000, web), pod("fd00::6", 443, db), nil},
		{"IPv6 unspecified", func(e *bpf.WeirEvent) {
			e.Local, e.Remote, e.Ethertype = [16]byte{}, raw("ff02::1"), fromNetwork(0x86dd)
		}, pod("::", 40000, web), plain("ff02::1", 443, World), nil},
		{"forged source is still the pod", func(e *bpf.WeirEvent) { e.Local, e.Reason = raw("10.2.0.6"), 34 }, pod("10.2.0.6", 40000, web), pod("10.2.0.6", 443, db), nil},
		{"interface without a pod", func(e *bpf.WeirEvent) { e.Ifindex, e.Local = 43, raw("9.9.9.9") }, plain("9.9.9.9", 40000, World), pod("10.2.0.6", 443, db), nil},
		{"gone interface, known address", func(e *bpf.WeirEvent) { e.Ifindex = 99 }, pod("10.1.0.5", 40000, web), pod("10.2.0.6", 443, db), nil},
		{"ICMP has an identifier, not ports", func(e *bpf.WeirEvent) { e.Protocol = 1 }, pod("10.1.0.5", 0, web), pod("10.2.0.6", 0, db), nil},
		{"not IP", func(e *bpf.WeirEvent) {
			e.Local, e.Remote, e.Protocol, e.Ethertype = [16]byte{}, [16]byte{}, 0, fromNetwork(0x88cc)
		}, Peer{Identity: PodIdentity, Pod: web}, Peer{}, nil},
		{"Service", func(e *bpf.WeirEvent) { e.Service, e.ServicePort = raw("10.96.0.1"), fromNetwork(53) }, pod("10.1.0.5", 40000, web), pod("10.2.0.6", 443, db), vip},
	} {
		f := newEnricher(t, &names{}).Flow(event(row.change))
		if !reflect.DeepEqual(f.Source, row.source) || !reflect.DeepEqual(f.Destination, row.destination) {
			t.Errorf("%s: got %+v -> %+v\nwant %+v -> %+v", row.name, f.Source, f.Destination, row.source, row.destination)
		}
		if !reflect.DeepEqual(f.Service, row.service) {
			t.Errorf("%s: service %+v, want %+v", row.name, f.Service, row.service)
		}
	}
}

func TestFlowAttributes(t *testing.T) {
	for _, row := range []struct {
		name      string
		change    change
		rule      *policy.RuleRef
		isolating []policy.ObjectKey
		nearest   *Miss
	}{
		{"no rule", func(*bpf.WeirEvent) {}, nil, closing, missed},
		{"by rule", func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule = 1, 1, 8 }, allow, nil, nil},
		{"by a rule that is forgotten", func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule = 1, 1, 9 }, nil, nil, nil},
		{"not isolated", func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Set = 1, 2, 0 }, nil, nil, nil},
		{"allowed without a rule", func(e *bpf.WeirEvent) { e.Verdict, e.Reason = 1, 6 }, nil, nil, nil},
		{"audited", func(e *bpf.WeirEvent) { e.Verdict = 2 }, nil, closing, missed},
		{"revoked", func(e *bpf.WeirEvent) { e.Kind, e.Reason = 2, 41 }, nil, closing, missed},
		{"a fragment is near no rule", func(e *bpf.WeirEvent) { e.Reason = 37 }, nil, closing, nil},
		{"spoofed", func(e *bpf.WeirEvent) { e.Reason, e.Set = 34, 0 }, nil, nil, nil},
		{"pod unknown", func(e *bpf.WeirEvent) { e.Ifindex = 43 }, nil, closing, nil},
	} {
		f := newEnricher(t, &names{}).Flow(event(row.change))
		if f.Rule != row.rule || !reflect.DeepEqual(f.Isolating, row.isolating) || f.Nearest != row.nearest {
			t.Errorf("%s: rule %v, isolating %v, nearest %v", row.name, f.Rule, f.Isolating, f.Nearest)
		}
	}
}

// The nearest rule is asked for in terms of policy: the peer at the other end
// of the subject, and the port of the destination, whoever it is.
func TestNearestIsAskedAsPolicyJudges(t *testing.T) {
	for _, row := range []struct {
		name   string
		change change
		want   policy.Flow
	}{
		{"egress", func(*bpf.WeirEvent) {}, policy.Flow{Direction: policy.Egress, Subject: web, Peer: netip.MustParseAddr("10.2.0.6"), Protocol: 6, Port: 443}},
		{"ingress", func(e *bpf.WeirEvent) { e.Direction, e.Initiator = 0, 1 }, policy.Flow{Direction: policy.Ingress, Subject: web, Peer: netip.MustParseAddr("10.2.0.6"), Protocol: 6, Port: 40000}},
	} {
		n := &names{}
		newEnricher(t, n).Flow(event(row.change))
		if !reflect.DeepEqual(n.asked, []policy.Flow{row.want}) {
			t.Errorf("%s: asked %+v, want %+v", row.name, n.asked, row.want)
		}
	}
}

func TestReplyIsMidstreamOfTheOtherSide(t *testing.T) {
	for reason, reply := range map[uint8]bool{1: false, 2: false, 3: true, 10: true, 32: false} {
		if f := newEnricher(t, &names{}).Flow(event(func(e *bpf.WeirEvent) { e.Reason = reason })); f.Reply != reply {
			t.Errorf("reason %d: reply %v", reason, f.Reply)
		}
	}
}

func TestTimeIsTheWallClockAtTheEvent(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := &names{wall: noon, mono: 10_000_000_000}
	e := newEnricher(t, n)
	at := func(mono uint64) time.Time { return e.Flow(event(func(ev *bpf.WeirEvent) { ev.Time = mono })).Time }
	if got := at(9_950_000_000); !got.Equal(noon.Add(-50 * time.Millisecond)) {
		t.Errorf("an event of 50 ms ago has %s", got)
	}
	// Within a second the clocks are not read again, so the order holds.
	n.wall = noon.Add(time.Hour)
	if got := at(10_100_000_000); !got.Equal(noon.Add(100 * time.Millisecond)) {
		t.Errorf("an event 100 ms later has %s", got)
	}
	if n.reads != 1 {
		t.Errorf("the clocks were read %d times", n.reads)
	}
	// The wall clock was set: after a second that shows.
	n.mono = 11_500_000_000
	if got := at(11_400_000_000); !got.Equal(noon.Add(time.Hour - 100*time.Millisecond)) {
		t.Errorf("after the clock was set an event has %s", got)
	}
	// An event that a ring held back for long, and a hostile one.
	if got := at(1_500_000_000); !got.Equal(noon.Add(time.Hour - 10*time.Second)) {
		t.Errorf("an event of 10 s ago has %s", got)
	}
	_ = at(1<<64 - 1)
}

func TestSystemClockRunsLikeTheMachine(t *testing.T) {
	wall, mono := SystemClock()
	if since := time.Since(wall); since < 0 || since > time.Minute {
		t.Errorf("the wall clock is off by %s", since)
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Since(wall) < 20*time.Millisecond && time.Now().Before(deadline) {
		_, _ = SystemClock()
	}
	later, mono2 := SystemClock()
	if off := time.Duration(mono2-mono) - later.Sub(wall); off < -10*time.Millisecond || off > 10*time.Millisecond {
		t.Errorf("the clocks ran apart by %s in %s", off, later.Sub(wall))
	}
}

func TestEnricherNamesWhatIsAbsent(t *testing.T) {
	_, err := NewEnricher(EnricherOptions{})
	for _, part := range []string{"Places", "Rules", "Clock"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

func BenchmarkFlow(b *testing.B) {
	e := newEnricher(b, &names{})
	ev := event(func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule = 1, 1, 8 })
	b.ReportAllocs()
	for b.Loop() {
		e.Flow(ev)
	}
}

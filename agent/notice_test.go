// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/weirnet/weir/agent/kube"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/cmd/weir/output"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

var (
	noticeWeb  = &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"}, UID: "u1"}
	noticeDB   = &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "data", Name: "db"}, UID: "u2"}
	noticeDNS  = &policy.Service{ObjectKey: policy.ObjectKey{Namespace: "kube-system", Name: "dns"}}
	noticeMiss = &flows.Miss{Rule: policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "web-egress"}, Direction: policy.Egress}, Why: "port 5432 is not 443"}
)

// deniedFlow is TCP from web's port 40000 to db's 5432, denied by default.
func deniedFlow(changes ...func(*flows.Flow)) *flows.Flow {
	f := &flows.Flow{
		Kind: flows.New, Verdict: flows.Denied, Reason: bpf.WeirReasonREASON_NO_RULE, Direction: policy.Egress, Protocol: policy.TCP,
		Source:      flows.Peer{Addr: netip.MustParseAddr("10.0.0.1"), Port: 40000, Identity: flows.PodIdentity, Pod: noticeWeb},
		Destination: flows.Peer{Addr: netip.MustParseAddr("10.0.0.2"), Port: 5432, Identity: flows.PodIdentity, Pod: noticeDB},
		Isolating:   []policy.ObjectKey{{Namespace: "shop", Name: "default-deny"}}, Nearest: noticeMiss,
	}
	for _, change := range changes {
		change(f)
	}
	return f
}

func TestDenialText(t *testing.T) {
	const isolated = "denied: isolated by shop/default-deny"
	plain := func(f *flows.Flow) { f.Nearest = nil }
	world := func(a string) flows.Peer { return flows.Peer{Addr: netip.MustParseAddr(a), Port: 443} }
	for _, row := range []struct {
		name   string
		change func(*flows.Flow)
		want   string
	}{
		{"egress", func(*flows.Flow) {}, "egress to data/db:5432 " + isolated + "; nearest miss shop/web-egress egress rule 0: port 5432 is not 443"},
		{"ingress", func(f *flows.Flow) { plain(f); f.Direction = policy.Ingress }, "ingress from shop/web to port 5432 " + isolated},
		{"to the world", func(f *flows.Flow) { plain(f); f.Destination = world("192.0.2.1") }, "egress to 192.0.2.1:443 " + isolated},
		{"to the world by IPv6", func(f *flows.Flow) { plain(f); f.Destination = world("2001:db8::1") }, "egress to [2001:db8::1]:443 " + isolated},
		{"UDP", func(f *flows.Flow) { plain(f); f.Protocol = policy.UDP }, "egress to data/db:5432 (UDP) " + isolated},
		{"without ports", func(f *flows.Flow) { plain(f); f.Protocol, f.Destination.Port = policy.ICMP, 0 }, "egress to data/db (ICMP) " + isolated},
		{"two policies", func(f *flows.Flow) {
			plain(f)
			f.Isolating = append(f.Isolating, policy.ObjectKey{Namespace: "shop", Name: "x"})
		}, "egress to data/db:5432 " + isolated + ", shop/x"},
		{"policies forgotten", func(f *flows.Flow) { plain(f); f.Isolating = nil }, "egress to data/db:5432 denied: no rule allows it"},
		{"Service", func(f *flows.Flow) { plain(f); f.Service = &flows.Peer{Port: 53, Service: noticeDNS} }, "egress to data/db:5432 " + isolated + "; sent to kube-system/dns:53 (service)"},
		{"not IP", func(f *flows.Flow) {
			f.Protocol, f.Destination, f.Reason = 0, flows.Peer{}, bpf.WeirReasonREASON_UNSUPPORTED
		}, "egress to ? denied: not IP, and the pod is isolated"},
	} {
		if got := denialText(deniedFlow(row.change)); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// Each reason of a denial is worded as weir observe words it.
func TestDenialIsWordedAsObserveWordsIt(t *testing.T) {
	said := 0
	for number := range pb.Reason_name {
		reason := bpf.WeirReason(number)
		if reason == bpf.WeirReasonREASON_NO_RULE {
			continue
		}
		text := denialReason(&flows.Flow{Reason: reason})
		if strings.HasPrefix(text, "reason ") {
			continue // allows, or comes with rules of later
		}
		said++
		var b bytes.Buffer
		line := &pb.Flow{Verdict: pb.Verdict_VERDICT_DENIED, Reason: pb.Reason(number)}
		if err := output.NewFlows(&b, output.Compact, output.Style{}).Write([]*pb.Flow{line}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), text) {
			t.Errorf("%s: the event says %q, the line %q", bpf.ReasonName(reason), text, b.String())
		}
	}
	if said < 10 {
		t.Errorf("only %d reasons have words", said)
	}
}

func TestDenialsAreToldToThePodWhosePolicyDenied(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*flows.Flow)
		told   uint64
	}{
		{"egress", func(*flows.Flow) {}, 1},
		{"ingress", func(f *flows.Flow) { f.Direction = policy.Ingress }, 1},
		{"allowed", func(f *flows.Flow) { f.Verdict = flows.Allowed }, 0},
		{"audited", func(f *flows.Flow) { f.Verdict = flows.Audited }, 0},
		{"no pod", func(f *flows.Flow) { f.Source.Pod = nil }, 0},
	} {
		client := fake.NewClientset()
		r, err := kube.NewRecorder(kube.RecorderOptions{Client: client, Node: "n1", Log: slog.New(slog.DiscardHandler), ObjectBurst: 1})
		if err != nil {
			t.Fatal(err)
		}
		n := notices{events: r, dir: newDirectory()}
		n.denied(deniedFlow(row.change))
		// The limit of one event shows which pod was told.
		about := noticeWeb
		if row.name == "ingress" {
			about = noticeDB
		}
		asked := false
		r.Denied(kube.Pod(about.Namespace, about.Name, about.UID), func() string { asked = true; return "x" })
		if asked != (row.told == 0) {
			t.Errorf("%s: told before %v, want %d", row.name, !asked, row.told)
		}
	}
}

func TestNoticesWithoutARecorder(t *testing.T) {
	n := notices{dir: newDirectory()}
	n.denied(deniedFlow())
	n.unenforceable(noticeWeb.ObjectKey, "u1", "why")
	n.unusable(policy.Batch{Policies: []*policy.Policy{{}}})
	n.crowded([]policy.ObjectKey{{}}, "why")
}

func TestUnusablePoliciesAreTold(t *testing.T) {
	r, err := kube.NewRecorder(kube.RecorderOptions{Client: fake.NewClientset(), Node: "n1", Log: slog.New(slog.DiscardHandler), ObjectEvery: time.Hour, ObjectBurst: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := notices{events: r, dir: newDirectory()}
	bad := &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "bad"}, UID: "u3"}
	bad.Rules[policy.Ingress] = []policy.Rule{{Problems: []string{"from[0]: no"}}}
	good := &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "good"}, UID: "u4"}
	b := policy.Batch{Policies: []*policy.Policy{bad, good}}
	n.dir.apply(b)
	told := func(p *policy.Policy) bool {
		asked := false
		r.Denied(kube.NetworkPolicy(p.Namespace, p.Name, p.UID), func() string { asked = true; return "x" })
		return !asked
	}
	n.unusable(b)
	n.crowded([]policy.ObjectKey{{Namespace: "shop", Name: "gone"}}, "why")
	if !told(bad) || told(good) {
		t.Error("the policy with a problem, and it alone, is told of")
	}
}

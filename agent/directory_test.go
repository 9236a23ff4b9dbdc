// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

func pod(name string, addr string, change ...func(*policy.Pod)) *policy.Pod {
	p := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: name}, IPs: []netip.Addr{netip.MustParseAddr(addr)}}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestOwner(t *testing.T) {
	const a = "10.0.0.1"
	web, db := pod("web", a), pod("db", a)
	service := &policy.Service{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "vip"}, IPs: []netip.Addr{netip.MustParseAddr(a)}}
	for _, row := range []struct {
		name    string
		batches []policy.Batch
		want    string
	}{
		{"nobody", nil, "world"},
		{"a pod", []policy.Batch{{Pods: []*policy.Pod{web}}}, "web"},
		{"a pod that is gone", []policy.Batch{{Pods: []*policy.Pod{web}}, {DeletedPods: []policy.ObjectKey{web.ObjectKey}}}, "world"},
		{"the last one written, while an address passes on", []policy.Batch{{Pods: []*policy.Pod{web}}, {Pods: []*policy.Pod{db}}}, "db"},
		{"the one before, when the last is gone again", []policy.Batch{{Pods: []*policy.Pod{web}}, {Pods: []*policy.Pod{db}}, {DeletedPods: []policy.ObjectKey{db.ObjectKey}}}, "web"},
		{"a pod written twice", []policy.Batch{{Pods: []*policy.Pod{web}}, {Pods: []*policy.Pod{pod("web", "10.0.0.2")}}}, "world"},
		{"a terminal pod has no address", []policy.Batch{{Pods: []*policy.Pod{pod("web", a, func(p *policy.Pod) { p.Terminal = true })}}}, "world"},
		{"a hostNetwork pod has none of its own", []policy.Batch{{Pods: []*policy.Pod{pod("web", a, func(p *policy.Pod) { p.HostNetwork = true })}}}, "world"},
		{"a pod before a Service", []policy.Batch{{Pods: []*policy.Pod{web}, Services: []*policy.Service{service}}}, "web"},
		{"a Service", []policy.Batch{{Services: []*policy.Service{service}}}, "vip"},
		{"a Service that is gone", []policy.Batch{{Services: []*policy.Service{service}}, {DeletedServices: []policy.ObjectKey{service.ObjectKey}}}, "world"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDirectory()
			for _, b := range row.batches {
				d.apply(b)
			}
			if got := name(d.Owner(netip.MustParseAddr(a))); got != row.want {
				t.Errorf("owner %s, want %s", got, row.want)
			}
		})
	}
}

func name(o flows.Owner) string {
	switch {
	case o.Pod != nil:
		return o.Pod.Name
	case o.Service != nil:
		return o.Service.Name
	}
	return "world"
}

// Events come up to 100 ms late: an id that is gone must still be named.
func TestIDsAreKnownForAWhile(t *testing.T) {
	d := newDirectory()
	now := time.Unix(1000, 0)
	ref := &policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "p"}}
	d.addIDs(map[uint32]*policy.RuleRef{1: ref, 2: ref}, map[uint32][]policy.ObjectKey{7: {ref.Policy}})
	d.retire(now, []uint32{1}, []uint32{7})
	if d.Rule(1) == nil || d.Set(7) == nil {
		t.Error("forgotten at once")
	}
	d.retire(now.Add(retention+time.Second), nil, nil)
	if d.Rule(1) != nil || d.Set(7) != nil {
		t.Error("known for ever")
	}
	if d.Rule(2) == nil {
		t.Error("an id that is in use was forgotten")
	}
}

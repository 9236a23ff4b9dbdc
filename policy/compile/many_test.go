// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// BenchmarkOneOfMany: a policy among a thousand that select the same pods
// changes, and what is left over is collected.
func BenchmarkOneOfMany(b *testing.B) {
	var all policy.Batch
	all.Namespaces = []policy.Namespace{{Name: "shop"}}
	for i := range 250 {
		all.Pods = append(all.Pods, &policy.Pod{
			ObjectKey: policy.ObjectKey{Namespace: "shop", Name: fmt.Sprintf("p%d", i)}, Node: thisNode,
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(i / 200), byte(10 + i%200)})}, Labels: map[string]string{"app": fmt.Sprint(i)},
		})
	}
	for i := range 999 {
		all.Policies = append(all.Policies, allowing(fmt.Sprintf("other-%d", i), netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i % 250)}), 32)))
	}
	gate := [2]policy.Batch{
		{Policies: []*policy.Policy{allowing("gate", netip.MustParsePrefix("192.0.2.1/32"))}},
		{Policies: []*policy.Policy{allowing("gate", netip.MustParsePrefix("10.244.0.0/16"))}},
	}
	e, c := resolve.New(thisNode, resolve.Marks{}), compile.New()
	c.Compile(e.Apply(all))
	for _, part := range []struct {
		name                    string
		apply, compile, collect bool
	}{{"apply", true, false, false}, {"compile", false, true, false}, {"collect", false, false, true}, {"all", true, true, true}} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			b.StopTimer()
			timed := func(on bool, f func()) {
				if on {
					b.StartTimer()
				}
				f()
				b.StopTimer()
			}
			for i := range b.N {
				var d *resolve.Delta
				timed(part.apply, func() { d = e.Apply(gate[i%2]) })
				timed(part.compile, func() { c.Compile(d) })
				timed(part.collect, func() { c.Compile(e.Collect()) })
			}
		})
	}
}

// allowing is a policy for every pod of the namespace, with one peer.
func allowing(name string, from netip.Prefix) *policy.Policy {
	p := &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: name}}
	p.Isolates[policy.Ingress] = true
	p.Rules[policy.Ingress] = []policy.Rule{rule([]policy.Peer{{Block: &policy.Block{Prefix: from}}}, policy.Port{Protocol: policy.UDP, First: 9000, Last: 9000})}
	return p
}

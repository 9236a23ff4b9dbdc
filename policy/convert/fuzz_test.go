// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"math"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/policy"
)

// FuzzConvert decodes bytes as each kind, laxly, so that more gets through, and
// converts. Nothing may panic, and no policy may be opened by a part that
// cannot be used. That is, in a policy that comes out:
//   - a direction is isolated exactly as policyTypes and its default say, and
//     has one rule for each of the object, in place;
//   - a rule is for any peer, or any port, exactly if the object lists none;
//   - each listed peer and port is in the rule or among its problems, no more
//     and no less;
//   - each peer is selectors or a block, excepts lie strictly inside their
//     block, ports are the whole protocol or numbers of 1 to 65535 or a name.
func FuzzConvert(f *testing.F) {
	for _, seed := range []string{
		policyMeta + `spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 1, endPort: 2}]}]}`,
		policyMeta + `spec: {ingress: [{from: [{podSelector: {matchLabels: {a: b}}, namespaceSelector: {}}], ports: [{port: http}, {protocol: UDP}]}]}`,
		policyMeta + `spec: {ingress: [{from: [{}, {ipBlock: {cidr: x}}], ports: [{endPort: 1}]}, null]}`,
		podMeta + `spec: {containers: [{name: a, ports: [{name: x, containerPort: 80, hostPort: 1}]}]}`,
		podMeta + `status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}], phase: Failed}`,
		serviceMeta + `spec: {clusterIP: 10.96.0.1, externalIPs: [1.1.1.1], ports: [{name: a, port: 80, nodePort: 3}]}`,
		`{metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, ports: [{name: a, port: 8080}], endpoints: [{addresses: [10.0.0.1]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if np := lax[networkingv1.NetworkPolicy](data); np != nil {
			p, err := NetworkPolicy(np)
			if (p == nil) == (err == nil) {
				t.Fatalf("got policy %v and error %v", p, err)
			}
			if p != nil {
				checkPolicy(t, np, p)
			}
		}
		checkOthers(t, data)
	})
}

func lax[T any](data []byte) *T {
	out := new(T)
	if yaml.Unmarshal(data, out) != nil {
		return nil
	}
	return out
}

func checkPolicy(t *testing.T, np *networkingv1.NetworkPolicy, p *policy.Policy) {
	t.Helper()
	types, spec := np.Spec.PolicyTypes, np.Spec
	byDefault := len(types) == 0
	if want := byDefault || slices.Contains(types, networkingv1.PolicyTypeIngress); p.Isolates[policy.Ingress] != want {
		t.Errorf("isolates ingress: %v, want %v", p.Isolates[policy.Ingress], want)
	}
	if want := byDefault && len(spec.Egress) > 0 || slices.Contains(types, networkingv1.PolicyTypeEgress); p.Isolates[policy.Egress] != want {
		t.Errorf("isolates egress: %v, want %v", p.Isolates[policy.Egress], want)
	}
	wanted := [2]int{len(spec.Ingress), len(spec.Egress)}
	for _, d := range policy.Directions {
		rules := p.Rules[d]
		if !p.Isolates[d] {
			wanted[d] = 0
		}
		if len(rules) != wanted[d] {
			t.Fatalf("%d %s rules, want %d", len(rules), d, wanted[d])
		}
		for i, r := range rules {
			if d == policy.Ingress {
				checkRule(t, r, len(spec.Ingress[i].From), len(spec.Ingress[i].Ports))
			} else {
				checkRule(t, r, len(spec.Egress[i].To), len(spec.Egress[i].Ports))
			}
		}
	}
}

func checkRule(t *testing.T, r policy.Rule, peers, ports int) {
	t.Helper()
	if r.AnyPeer != (peers == 0) || r.AnyPort != (ports == 0) {
		t.Errorf("rule of %d peers and %d ports came out as %+v", peers, ports, r)
	}
	if len(r.Peers) > peers || len(r.Ports) > ports || len(r.Peers)+len(r.Ports)+len(r.Problems) != peers+ports {
		t.Errorf("rule of %d peers and %d ports has %d, %d and %d problems", peers, ports, len(r.Peers), len(r.Ports), len(r.Problems))
	}
	for _, p := range r.Peers {
		if fault := peerFault(p); fault != "" {
			t.Errorf("peer %+v: %s", p, fault)
		}
	}
	for _, p := range r.Ports {
		if fault := portFault(p); fault != "" {
			t.Errorf("port %+v: %s", p, fault)
		}
	}
}

func peerFault(p policy.Peer) string {
	if (p.Block != nil) == (p.Pods != nil || p.Namespaces != nil) {
		return "neither selectors nor a block, or both"
	}
	if p.Block == nil {
		return ""
	}
	b := p.Block
	if !b.Prefix.IsValid() || b.Prefix != b.Prefix.Masked() || b.Prefix.Addr().Is4In6() {
		return "the prefix is not in its one form"
	}
	for _, e := range b.Excepts {
		if e != e.Masked() || e.Bits() <= b.Prefix.Bits() || !b.Prefix.Overlaps(e) {
			return fmt.Sprintf("except %s", e)
		}
	}
	return ""
}

func portFault(p policy.Port) string {
	whole := p.First == 0 && p.Last == math.MaxUint16
	switch {
	case p.Protocol != policy.TCP && p.Protocol != policy.UDP && p.Protocol != policy.SCTP:
		return "protocol"
	case p.Name != "" && (p.First != 0 || p.Last != 0):
		return "name and number"
	case p.Name == "" && !whole && (p.First == 0 || p.First > p.Last):
		return "range"
	}
	return ""
}

// checkOthers holds what consumers rely on: whole names, usable addresses and
// numbers.
func checkOthers(t *testing.T, data []byte) {
	t.Helper()
	if n := lax[corev1.Namespace](data); n != nil {
		if out, err := Namespace(n); err == nil && out.Labels[corev1.LabelMetadataName] != out.Name {
			t.Errorf("namespace %+v", out)
		}
	}
	if p := lax[corev1.Pod](data); p != nil {
		if out, _, err := Pod(p); err == nil {
			checkPod(t, out)
		}
	}
	s := lax[corev1.Service](data)
	slice := lax[discoveryv1.EndpointSlice](data)
	if s == nil || slice == nil {
		return
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: s.Name}
	out, _, err := Service(s, []*discoveryv1.EndpointSlice{slice})
	if err != nil {
		return
	}
	for _, p := range out.Ports {
		for _, b := range p.Backends {
			if p.Number == 0 || b.Port() == 0 || !b.Addr().IsValid() || b.Addr().Is4In6() {
				t.Errorf("service port %+v", p)
			}
		}
	}
}

func checkPod(t *testing.T, p *policy.Pod) {
	t.Helper()
	if p.Namespace == "" || p.Name == "" {
		t.Errorf("pod without a whole name: %+v", p)
	}
	for _, a := range p.IPs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			t.Errorf("pod address %v", a)
		}
	}
	for _, n := range p.Ports {
		if n.Number == 0 || n.Name == "" || n.Protocol == 0 {
			t.Errorf("pod port %+v", n)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package output

import (
	"io"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// Endpoints writes a table of the node's interfaces and whose they are.
func Endpoints(to io.Writer, list []*pb.Endpoint, style Style) error {
	var b strings.Builder
	if len(list) == 0 {
		b.WriteString("no endpoints\n")
		return flush(to, &b)
	}
	var t table
	t.header("INTERFACE", "POD", "ADDRESSES", "STATE", "INGRESS", "EGRESS", "ATTACHED", "WHY")
	for _, e := range list {
		t.add(text(orDash(e.GetInterface())),
			cell{text: orDash(object(e.GetNamespace(), e.GetPod()))},
			cell{text: addresses(e)},
			cell{text: orDash(Escape(e.GetState())), color: stateColor(e.GetState())},
			cell{text: isolatedBy(e, e.GetIngressPolicies(), e.GetSetIngress())},
			cell{text: isolatedBy(e, e.GetEgressPolicies(), e.GetSetEgress())},
			text(orDash(e.GetAttached())),
			text(e.GetWhy()))
	}
	t.write(&b, style)
	return flush(to, &b)
}

func addresses(e *pb.Endpoint) string {
	ips := make([]string, len(e.GetIps()))
	for i, ip := range e.GetIps() {
		ips[i] = Escape(ip)
	}
	return orDash(strings.Join(ips, ","))
}

// isolatedBy names the policies of one direction, without the namespace where
// it is the pod's own.
func isolatedBy(e *pb.Endpoint, policies []*pb.PolicyRef, set uint32) string {
	if len(policies) == 0 {
		switch {
		case set != 0:
			return "isolated"
		case e.GetState() == "enforced", e.GetState() == "audited":
			return "not isolated"
		}
		return "-"
	}
	names := make([]string, len(policies))
	for i, p := range policies {
		namespace := p.GetNamespace()
		if namespace == e.GetNamespace() {
			namespace = ""
		}
		names[i] = object(namespace, p.GetName())
	}
	return strings.Join(names, ",")
}

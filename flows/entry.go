// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

const etherIPv4 = 0x0800

// entry binds the names of this instant to an entry of the table of flows. Id,
// kind and times are left to the caller.
func (e *Enricher) entry(key bpf.WeirFlowKey, flow bpf.WeirFlow) *Flow {
	f := &Flow{
		Verdict:   Verdict(flow.Verdict),
		Reason:    Reason(flow.Reason),
		Direction: policy.Egress,
		Protocol:  policy.Protocol(key.Protocol),
		TCPFlags:  flow.TcpTx | flow.TcpRx,
		EtherType: etherIPv6,
	}
	remote := e.peer(address(key.Remote, etherIPv6)) // entries have addresses
	if remote.Addr.Is4() {
		f.EtherType = etherIPv4
	}
	name, pod := e.options.Places.Interface(key.Ifindex)
	f.Interface = name
	local := e.local(address(key.Local, etherIPv6), pod)
	localPort, remotePort := fromNetwork(key.LocalPort), fromNetwork(key.RemotePort)
	if hasPorts(f.Protocol) {
		local.Port, remote.Port = localPort, remotePort
	}
	sent := Traffic{flow.TxPackets, flow.TxBytes, flow.TcpTx}
	answered := Traffic{flow.RxPackets, flow.RxBytes, flow.TcpRx}
	f.Source, f.Destination = local, remote
	asked := remotePort
	if remoteBegan(flow.Initiator) {
		f.Direction = policy.Ingress
		f.Source, f.Destination = remote, local
		sent, answered = answered, sent
		asked = localPort
	}
	if f.Protocol == policy.ICMP || f.Protocol == policy.ICMPv6 {
		f.ICMPType = uint8(asked) // the query's type stands at the side that is asked
	}
	f.Totals = &Totals{Sent: sent, Answered: answered}
	e.attribute(f, flow.Rule, flow.Set, pod)
	return f
}

// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"testing"

	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/packet"
)

// What an accomplice sends to another's address, and a bridge floods to the
// pod's veth, must not let the pod answer with that address.
func TestForeignLocal(t *testing.T) {
	node.RequireKernel(t)
	r := newRealm()
	m, err := packet.NewMachine(packet.Defaults())
	must(t, err)
	defer func() { must(t, m.Close()) }()
	for i, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			must(t, r.load(m))
			asked, asker := at(r["X"][i], 443), at(r["C"][i], 1000)
			run := func(hook packet.Hook, p packet.Packet) packet.Result {
				result, err := m.RunPacket(hook, p, packet.Context{Ifindex: m.Link(0), Ingress: uint32(hook) * m.Link(2)})
				must(t, err)
				return result
			}
			if before := run(packet.FromPod, packet.TCP(asked, asker, packet.SYN|packet.ACK)); before.Passed() {
				t.Fatalf("a forged source passes: %s", before)
			}
			run(packet.ToPod, packet.TCP(asker, asked, packet.SYN))
			after := run(packet.FromPod, packet.TCP(asked, asker, packet.SYN|packet.ACK))
			if after.Passed() {
				t.Errorf("a forged source passes behind a packet to it: %s", after)
			}
		})
	}
}

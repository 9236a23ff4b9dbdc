// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	ingress = weirv1.Direction_DIRECTION_INGRESS
	egress  = weirv1.Direction_DIRECTION_EGRESS
	begun   = weirv1.FlowKind_FLOW_KIND_NEW
	closed  = weirv1.FlowKind_FLOW_KIND_CLOSED
)

// about picks records of a flow by kind, policy direction and source port.
func about(kind weirv1.FlowKind, direction weirv1.Direction, port int) func(*weirv1.Flow) bool {
	return func(f *weirv1.Flow) bool {
		return f.GetKind() == kind && f.GetDirection() == direction && int(f.GetSource().GetPort()) == port
	}
}

func portOf(conn net.Conn) int {
	addr, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	return int(addr.Port())
}

// A connection is told at its first packet and at its end, under one id, with
// what it carried and how long it took.
func TestClosedConnection(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	for _, addr := range s.web.Addrs {
		start := time.Now()
		conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(addr, 8080), answer)
		s.must(err)
		const exchanges, size = 5, 1000
		message := string(make([]byte, size))
		for range exchanges {
			s.must(netns.Exchange(conn, message, answer))
			time.Sleep(50 * time.Millisecond) // the connection is to last
		}
		port := portOf(conn)
		s.must(conn.Close())
		took := time.Since(start)

		first := s.told("first packet", about(begun, ingress, port))
		last := s.told("end", about(closed, ingress, port))
		if first.GetId() == 0 || first.GetId() != last.GetId() {
			t.Errorf("ids %d and %d", first.GetId(), last.GetId())
		}
		if last.GetEndReason() != weirv1.EndReason_END_REASON_FIN || last.GetVerdict() != weirv1.Verdict_VERDICT_ALLOWED {
			t.Errorf("ended by %s, %s", last.GetEndReason(), last.GetVerdict())
		}
		if last.GetSource().GetName() != "frontend" || last.GetDestination().GetName() != "web" || last.GetRule().GetPolicy().GetName() != "allow-web" {
			t.Errorf("names: %v", last)
		}
		if !last.GetStart().AsTime().Equal(first.GetTime().AsTime()) {
			t.Errorf("begins %s, the first packet was at %s", last.GetStart().AsTime(), first.GetTime().AsTime())
		}
		if d := last.GetDuration().AsDuration(); d > took+50*time.Millisecond || d < took-200*time.Millisecond {
			t.Errorf("lasted %s, took %s", d, took)
		}
		for who, side := range map[string]*weirv1.Traffic{"sent": last.GetSent(), "answered": last.GetAnswered()} {
			header := uint64(40) // at least, IPv4 and TCP without options
			if side.GetBytes() < exchanges*size+side.GetPackets()*header || side.GetBytes() > exchanges*size+side.GetPackets()*100 || side.GetPackets() < exchanges+2 {
				t.Errorf("%s: %d packets, %d bytes", who, side.GetPackets(), side.GetBytes())
			}
			if side.GetTcpFlags()&0b10011 != 0b10011 { // ACK, SYN, FIN
				t.Errorf("%s: flags %b", who, side.GetTcpFlags())
			}
		}
	}
}

// The pods are gone, from the node and from the manifests, when the end of
// their flows is told.
func TestRecordsOfPodsThatAreGone(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	s.must(netns.Exchange(conn, "hello", answer))
	port := portOf(conn)
	s.told("first packet at the source", about(begun, egress, port))
	s.told("first packet at the destination", about(begun, ingress, port))
	s.must(s.node.RemovePod(s.frontend))
	conn.Close()
	s.must(s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, []node.Pod{s.pods[0], s.pods[2]})))
	last := s.told("end at the source", about(closed, egress, port))
	if last.GetEndReason() != weirv1.EndReason_END_REASON_REMOVED {
		t.Errorf("ended by %s", last.GetEndReason())
	}
	if p := last.GetSource(); p.GetName() != "frontend" || p.GetLabels()["app"] != "frontend" || last.GetInterface() == "" {
		t.Errorf("source %v on %q", p, last.GetInterface())
	}
	s.must(s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, nil)))
	s.must(s.node.RemovePod(s.web))
	last = s.told("end at the destination", about(closed, ingress, port))
	if last.GetSource().GetName() != "frontend" || last.GetDestination().GetName() != "web" {
		t.Errorf("names: %v", last)
	}
}

// A connection that a policy change cuts ends as revoked, with what isolates
// the pod now.
func TestRecordOfACutConnection(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	defer conn.Close()
	s.must(netns.Exchange(conn, "hello", answer))
	port := portOf(conn)
	first := s.told("first packet", about(begun, ingress, port))
	s.must(s.agent.Replace("manifests/policy.yaml", `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: nobody}
spec: {podSelector: {}, policyTypes: [Ingress]}
`))
	s.told("the cut", func(f *weirv1.Flow) bool {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = fmt.Fprint(conn, "again") // it is cut at its next packet
		return about(weirv1.FlowKind_FLOW_KIND_REVOKED, ingress, port)(f) && f.GetId() == first.GetId()
	})
	last := s.told("end", about(closed, ingress, port))
	if last.GetId() != first.GetId() || last.GetEndReason() != weirv1.EndReason_END_REASON_REVOKED || last.GetVerdict() != weirv1.Verdict_VERDICT_DENIED {
		t.Errorf("%d ended by %s, %s; the flow is %d", last.GetId(), last.GetEndReason(), last.GetVerdict(), first.GetId())
	}
	if len(last.GetIsolating()) != 1 || last.GetIsolating()[0].GetName() != "nobody" || last.GetRule() != nil {
		t.Errorf("isolating %v, rule %v", last.GetIsolating(), last.GetRule())
	}
}

// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const serviceManifest = `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec:
  clusterIPs: ["10.96.0.10"]
  ports: [{name: web, protocol: TCP, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: web, protocol: TCP, port: 8080}]
endpoints: [{addresses: ["10.244.1.10"], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: web}}]
`

const frontendMayCallWeb = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: to-web}
spec:
  podSelector: {matchLabels: {app: frontend}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]
`

// translate as kube-proxy does.
func (s *stage) translate() {
	s.t.Helper()
	s.must(s.node.Do(func() error {
		nft := exec.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader(`table ip obs { chain pre {
type nat hook prerouting priority dstnat
ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.1.10:8080
}
}`)
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	}))
}

// A connection to a Service is told with the Service and with the backend that
// was picked, at its beginning and at its end.
func TestRecordOfAService(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	s.translate()
	s.must(s.agent.Replace("manifests/service.yaml", serviceManifest))
	s.must(s.agent.Replace("manifests/policy.yaml", allowWeb+frontendMayCallWeb))
	service := netip.MustParseAddrPort("10.96.0.10:80")
	s.until("policies and Service", func(context.Context) error {
		if s.frontend.Try("tcp", netip.AddrPortFrom(s.stranger.Addrs[0], 1), 100*time.Millisecond) == nil {
			return errors.New("the stranger listens")
		}
		f := s.view.Find(0, func(f *weirv1.Flow) bool { return f.GetVerdict() == barred && f.GetDirection() == egress })
		if f == nil {
			return errNotYet
		}
		return s.frontend.Try("tcp", service, time.Second)
	})
	conn, err := s.frontend.Dial("tcp", service, answer)
	s.must(err)
	s.must(netns.Exchange(conn, "weir", answer))
	port := portOf(conn)
	s.must(conn.Close())
	judged := func(kind weirv1.FlowKind) func(*weirv1.Flow) bool {
		return func(f *weirv1.Flow) bool {
			return about(kind, egress, port)(f) && f.GetReason() == weirv1.Reason_REASON_RULE
		}
	}
	first, last := s.told("first packet", judged(begun)), s.told("end", judged(closed))
	for _, f := range []*weirv1.Flow{first, last} {
		if d := f.GetDestination(); d.GetName() != "web" || d.GetPort() != 8080 || d.GetIp() != "10.244.1.10" {
			t.Errorf("%s: the backend is %v", f.GetKind(), d)
		}
		if v := f.GetService(); v.GetName() != "web" || v.GetPort() != 80 || v.GetIp() != "10.96.0.10" || v.GetIdentity() != weirv1.Identity_IDENTITY_SERVICE {
			t.Errorf("%s: the Service is %v", f.GetKind(), v)
		}
		if f.GetRule().GetPolicy().GetName() != "to-web" {
			t.Errorf("%s: decided by %v", f.GetKind(), f.GetRule())
		}
	}
	if first.GetId() != last.GetId() || last.GetSent().GetPackets() == 0 {
		t.Errorf("the end: %v", last)
	}
}

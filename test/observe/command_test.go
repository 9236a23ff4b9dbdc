// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// traffic and record are what `weir observe -o json` writes.
type traffic struct {
	Packets  uint64 `json:",string"`
	Bytes    uint64 `json:",string"`
	TCPFlags uint8  `json:"tcp_flags"`
}

type record struct {
	Kind, Verdict, Direction string
	EndReason                string `json:"end_reason"`
	TCPFlags                 uint8  `json:"tcp_flags"`
	Source, Destination      struct {
		Namespace, Name string
		Port            int
		Labels          map[string]string
		Workload        struct{ Kind, Name string }
	}
	ID, Node, Interface, Duration string
	Reply                         bool
	Sent, Answered                traffic
	Rule                          struct{ Policy struct{ Name string } }
}

// shown runs `weir observe` and picks a record of a source port's flow, of the
// policy of the destination.
func (s *stage) shown(kind string, port int) (*record, error) {
	out, err := s.agent.Weir("observe", "--all", "-o", "json").Output()
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(out) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		if r.Source.Port == port && r.Direction == "DIRECTION_INGRESS" && r.Kind == kind {
			return &r, nil
		}
	}
	return nil, fmt.Errorf("no %s", kind)
}

// deployed says in the manifests that a pod is one of a Deployment.
func deployed(manifest, pod string) string {
	return strings.Replace(manifest, "uid: uid-of-shop-"+pod+"\n  labels: {", "uid: uid-of-shop-"+pod+
		"\n  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: "+pod+"-5d4, uid: u, controller: true}]\n  labels: {pod-template-hash: 5d4, ", 1)
}

// What the command shows of a connection that is over: in JSON everything, in
// its default line what fits.
func TestClosedShown(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	s.must(s.agent.Replace("manifests/cluster.yaml", deployed(node.Manifest("node-a", []string{"shop"}, s.pods), "frontend")))
	s.until("the workload", func(context.Context) error {
		s.must(s.frontend.Try("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer))
		out, err := s.agent.Weir("observe", "--all", "--from-workload", "shop/Deployment/frontend", "--exit-nonzero-if-empty").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	const exchanges, size = 3, 500
	for range exchanges {
		s.must(netns.Exchange(conn, strings.Repeat("w", size), answer))
	}
	port := portOf(conn)
	s.must(conn.Close())
	var r *record
	s.until("the end", func(context.Context) (err error) { r, err = s.shown("FLOW_KIND_CLOSED", port); return err })
	took, err := time.ParseDuration(r.Duration)
	const synFinAck = 0b10011
	const header = 40
	for _, row := range []struct {
		what string
		good bool
	}{
		{"verdict", r.Verdict == "VERDICT_ALLOWED" && r.EndReason == "END_REASON_FIN" && r.Rule.Policy.Name == "allow-web"},
		{"packets", r.Sent.Packets >= exchanges+3 && r.Answered.Packets >= exchanges+2},
		{"bytes", r.Sent.Bytes >= exchanges*size+r.Sent.Packets*header && r.Answered.Bytes >= exchanges*size+r.Answered.Packets*header},
		{"duration", err == nil && took >= 0 && took < answer},
		{"TCP flags", r.TCPFlags&synFinAck == synFinAck && r.Sent.TCPFlags&synFinAck == synFinAck && r.Answered.TCPFlags&synFinAck == synFinAck},
		{"workload", r.Source.Workload.Kind == "Deployment" && r.Source.Workload.Name == "frontend"},
		{"labels", r.Source.Labels["app"] == "frontend" && r.Destination.Labels["app"] == "web"},
		{"names", r.Source.Namespace == "shop" && r.Source.Name == "frontend" && r.Destination.Name == "web" && r.Destination.Port == 8080},
		{"place", r.Node == "node-a" && r.Interface == "vethweb" && r.ID != "" && !r.Reply},
	} {
		if !row.good {
			t.Errorf("%s: %+v", row.what, r)
		}
	}
	s.lines(port, r)
}

// lines checks the lines of the record for people.
func (s *stage) lines(port int, r *record) {
	filter := []string{"observe", "--all", "--from-port", strconv.Itoa(port), "--kind", "closed", "--traffic-direction", "ingress"}
	for format, want := range map[string]string{
		"compact": fmt.Sprintf(`ALLOWED +shop/frontend:%d +-> shop/web:8080 +TCP +closed \(FIN\) after [0-9.]+m?s, sent %d packets [0-9.]+ KiB FIN\+SYN\+PSH\+ACK, answered %d packets [0-9.]+ KiB FIN\+SYN\+PSH\+ACK; ingress of shop/web allowed by shop/allow-web ingress rule 0\n$`,
			port, r.Sent.Packets, r.Answered.Packets),
		"table": fmt.Sprintf(`closed, FIN +%d +[0-9.]+ KiB +[0-9.]+m?s`, r.Sent.Packets+r.Answered.Packets),
		"dict":  `(?s)SOURCE  shop/frontend:.*Deployment frontend\n *SOURCE LABELS  app=frontend,pod-template-hash=5d4\n.*DESTINATION LABELS  app=web\n.*DURATION  .*SENT  .*ANSWERED  `,
		"wide":  `vethweb  FIN,SYN,PSH,ACK +-  0x[0-9a-f]+ +rule +closed`,
	} {
		out, err := s.agent.Weir(append(filter, "-o", format)...).CombinedOutput()
		s.must(err)
		if !regexp.MustCompile(want).Match(out) {
			s.t.Errorf("-o %s: %s; want %s", format, out, want)
		}
	}
}

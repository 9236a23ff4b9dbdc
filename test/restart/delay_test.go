// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/variant"
)

// Programs that wait between two lookups, some 50 microseconds each time,
// judge traffic while policy changes without a pause. Frontend may reach web
// before and after each change, by another rule, and stranger may not; whoever
// puts a class of the one state together with a set of the other, or reads a
// row that is deleted meanwhile, gets it wrong.
func TestDelayedReaders(t *testing.T) {
	node.RequireKernel(t)
	delayed := buildPatched(t, delays)
	s := newStageOf(t, delayed)
	must(t, s.agent.Replace("manifests/policies.yaml", shifting(0)))
	changes := 0
	s.underTraffic(t, 1, func(int) {
		for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
			changes++
			must(t, s.agent.Replace("manifests/policies.yaml", shifting(changes)))
			time.Sleep(3 * time.Millisecond) // a burst of changes would be taken as one
		}
	})
	generation, err := s.agent.Generation()
	must(t, err)
	t.Logf("%d changes written, %d applied", changes, generation)
	if generation < 100 {
		t.Errorf("only %d changes were applied: too few to meet a reader", generation)
	}
}

// delays: before a value that was found is read, and before the next is looked
// up. A function of its own is verified once.
var delays = []variant.Patch{
	variant.In("bpf/src/lookup.h", "static __always_inline int copy_peer(", `__noinline int linger(void)
{
	__u64 until = 0;
	int i;

	for (i = 0; i < 1500; i++)
		until += bpf_ktime_get_ns();
	return until == 1;
}

static __always_inline int copy_peer(`),
	variant.In("bpf/src/lookup.h", "	*to = *found;\n	barrier();\n	return same_address", "	linger();\n	*to = *found;\n	barrier();\n	return same_address"),
	variant.In("bpf/src/lookup.h", "	*to = *found;\n	barrier();\n	return found->ifindex", "	linger();\n	*to = *found;\n	barrier();\n	return found->ifindex"),
	variant.In("bpf/src/verdict.h", "	ruling->class = peer.class;\n", "	linger();\n	ruling->class = peer.class;\n"),
	variant.In("bpf/src/verdict.h", "	if (i >= 0 && i < ROW_INTERVALS)\n		found", "	linger();\n	if (i >= 0 && i < ROW_INTERVALS)\n		found"),
}

// shifting policies allow frontend by another rule each time, and what they say
// of stranger, by pods and blocks, never opens the port.
func shifting(n int) string {
	peers := []string{
		"{podSelector: {matchLabels: {app: frontend}}}",
		"{ipBlock: {cidr: 10.244.1.11/32}}, {ipBlock: {cidr: \"fd00:10:244:1::b/128\"}}",
		"{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [frontend, nobody]}]}}",
	}
	others := []string{
		"{podSelector: {matchLabels: {app: stranger}}}",
		"{ipBlock: {cidr: 10.244.1.8/29}}, {ipBlock: {cidr: \"fd00:10:244:1::8/125\"}}",
	}
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [%s]
    ports: [{port: %d}]
  - from: [%s]
    ports: [{port: 8080}]
`, others[n%2], 20000+n%1000, peers[n%3])
	return b.String()
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const (
	crowd      = 100
	crowdLimit = 6 * time.Minute // on a busy machine of two processors
)

// A hundred pods start at once, and the first process of each calls at once,
// before the API server knows the pod's address. What its policy denies must
// not pass even then.
func TestHundredPods(t *testing.T) {
	n := cluster.Namespace(t)
	n.Policy("default-deny", `{podSelector: {matchLabels: {role: crowd}}, policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {matchLabels: {app: open}}}]}]}`)
	open := n.StartTraffic("open", PodOptions{Node: cluster.Nodes[0]})
	shut := n.StartTraffic("shut", PodOptions{Node: cluster.Nodes[1]})
	open.AwaitReady()
	shut.AwaitReady()
	args := append([]string{callsEvery, "-for=3s"}, open.Calls(traffic.Connect)...)
	denied := shut.Calls(traffic.Connect, traffic.Datagram)
	args = append(args, denied...)
	began := time.Now()
	pods := make([]*Pod, crowd)
	for i := range pods {
		pods[i] = n.StartTraffic(fmt.Sprint("crowd-", i), PodOptions{Node: cluster.Nodes[i%2], Labels: map[string]string{"role": "crowd"}, Once: true}, args...)
	}
	var attempts, answered, allowed, failed int64
	for _, p := range pods {
		var totals traffic.Totals
		err := poll(t.Context(), crowdLimit-time.Since(began), func(ctx context.Context) error {
			var err error
			totals, err = p.Result(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range totals.Calls {
			if i < len(totals.Calls)-len(denied) {
				allowed, failed = allowed+c.Answered, failed+c.Failed
				if c.Answered == 0 {
					t.Errorf("%s to %s: no call answered: %q", p, c.Target, c.Failures)
				}
				continue
			}
			attempts, answered = attempts+c.Attempts, answered+c.Answered
			if c.Attempts == 0 {
				t.Errorf("%s made no call to %s", p, c.Target)
			}
		}
	}
	seen, err := shut.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	arrived := int64(0)
	for _, a := range seen.Arrivals {
		arrived += a.Connections + a.Datagrams
	}
	t.Logf("%d pods ended after %.0f s; allowed: %d calls answered, %d not; denied: %d calls, %d arrived, %d answered",
		crowd, time.Since(began).Seconds(), allowed, failed, attempts, arrived, answered)
	n.Empty() // a hundred pods on their way out would slow the next row
	if passed := arrived > 0 || answered > 0; passed != *without {
		t.Errorf("denied calls passed: %t, want %t", passed, *without)
	}
}

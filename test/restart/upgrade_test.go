// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/variant"
)

// An agent is replaced by a build whose rows and flows have another layout,
// and that by the first again, a few times over, under the traffic of
// TestKilledUnderTraffic. Both tables are new to each of them: what is judged
// meanwhile, is judged by the tables of the agent before, and its flows are
// carried over.
func TestUpgradeAndDowngradeUnderTraffic(t *testing.T) {
	node.RequireKernel(t)
	other := buildPatched(t, variant.Layouts())
	s := newStage(t)
	s.answersRepeat = true
	this := s.agent.Bin
	seen := map[string]bool{}
	s.underTraffic(t, 6, func(i int) {
		must(t, s.agent.Replace("manifests/policies.yaml", policies(i+1)))
		must(t, s.agent.Stop())
		s.agent.Bin = []string{other, this}[i%2]
		must(t, s.agent.Start())
		must(t, s.agent.WaitReady(t.Context(), time.Minute))
		for _, pattern := range []string{"tables-*", "flows-*"} {
			found, err := filepath.Glob(filepath.Join(s.agent.Pins, pattern))
			must(t, err)
			if len(found) != 1 {
				t.Errorf("replacement %d: %s is %v, want one: the tables of the agent before are to go", i, pattern, found)
			}
			for _, path := range found {
				seen[filepath.Base(path)] = true
			}
		}
	})
	flows := 0
	for name := range seen {
		if strings.HasPrefix(name, "flows-") {
			flows++
		}
	}
	if tables := len(seen) - flows; flows != 2 || tables != 6 {
		t.Errorf("%v: want two layouts of flows, and tables of its own for each of the six", slices.Sorted(maps.Keys(seen)))
	}
}

// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/policy"
)

// corpus reads every file.
func corpus(t *testing.T) map[string][]Scenario {
	t.Helper()
	files, err := filepath.Glob("corpus/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	all := map[string][]Scenario{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scenarios, err := Parse(file, string(text))
		if err != nil {
			t.Fatal(err)
		}
		all[file] = scenarios
	}
	return all
}

// each runs f on every scenario as a subtest, in the order of the files.
func each(t *testing.T, f func(t *testing.T, s Scenario)) {
	t.Helper()
	all := corpus(t)
	for _, file := range sortedKeys(all) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, s := range all[file] {
				t.Run(s.Title, func(t *testing.T) { f(t, s) })
			}
		})
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// expect runs a scenario and reports every wrong answer.
func expect(t *testing.T, s Scenario, e Engine) Outcome {
	t.Helper()
	out, err := Run(s, e)
	if err != nil {
		t.Error(err)
	}
	for _, fault := range out.Faults {
		t.Error(fault)
	}
	return out
}

func TestOracle(t *testing.T) {
	all := shown{}
	each(t, func(t *testing.T, s Scenario) { all.add(t, s.File, expect(t, s, NewOracle())) })
	all.check(t, "oracle")
}

func TestInterpreter(t *testing.T) {
	all := shown{}
	each(t, func(t *testing.T, s Scenario) { all.add(t, s.File, expect(t, s, NewInterpreter())) })
	all.check(t, "interpreter")
}

// TestHistories: the tables depend on the present state, never on the path.
func TestHistories(t *testing.T) {
	const seed = 20
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	each(t, func(t *testing.T, s Scenario) {
		parts := Split(s.Final().Whole())
		want := replay(t, s.Final().Whole())
		for name, history := range histories(rng, s, parts) {
			if diff := cmp.Diff(want, replay(t, history...)); diff != "" {
				t.Errorf("%s: the tables differ, -want +got\n%s", name, diff)
			}
		}
	})
}

func histories(rng *rand.Rand, s Scenario, parts []policy.Batch) map[string][]policy.Batch {
	backwards, split := slices.Clone(parts), []policy.Batch(nil)
	slices.Reverse(backwards)
	for _, b := range s.History() {
		split = append(split, Split(b)...)
	}
	all := map[string][]policy.Batch{
		"as it came": s.History(), "as it came, split": split, "in parts": parts, "reversed": backwards,
		"emptied and made again": append(append(s.History(), s.Final().Removal()), s.Final().Whole()),
	}
	for n := range 3 {
		mixed := slices.Clone(parts)
		rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		all[fmt.Sprintf("shuffled %d", n)] = mixed
		all[fmt.Sprintf("repeated %d", n)] = slices.Concat(mixed, backwards, mixed)
	}
	return all
}

func replay(t *testing.T, history ...policy.Batch) []string {
	t.Helper()
	e := NewInterpreter()
	for _, b := range history {
		if err := e.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	return e.Canonical()
}

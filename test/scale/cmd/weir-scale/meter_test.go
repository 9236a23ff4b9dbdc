// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"testing"
)

func TestRequestsIn(t *testing.T) {
	const others = `# HELP apiserver_flowcontrol_dispatched_requests_total Number of executed requests
apiserver_flowcontrol_dispatched_requests_total{flow_schema="catch-all",priority_level="catch-all"} 7
`
	for _, row := range []struct {
		name, metrics string
		want          int
		fails         bool
	}{
		{"none", others, 0, false},
		{"two lines", others + `apiserver_flowcontrol_dispatched_requests_total{flow_schema="weir-scale-agent",priority_level="a"} 6
apiserver_flowcontrol_dispatched_requests_total{flow_schema="weir-scale-agent",priority_level="b"} 1.2e+01
`, 18, false},
		{"no number", `apiserver_flowcontrol_dispatched_requests_total{flow_schema="weir-scale-agent"} x`, 0, true},
	} {
		if got, err := requestsIn([]byte(row.metrics)); got != row.want || (err != nil) != row.fails {
			t.Errorf("%s: %d, %v, want %d, an error: %v", row.name, got, err, row.want, row.fails)
		}
	}
}

func TestDifference(t *testing.T) {
	before := map[string]float64{`writes{map="a"}`: 3, `writes{map="b"}`: 4, `other{map="a"}`: 1}
	after := map[string]float64{`writes{map="a"}`: 5, `writes{map="b"}`: 4, `writes{map="c"}`: 2, `other{map="a"}`: 9}
	want := map[string]float64{`map="a"`: 2, `map="c"`: 2}
	if got := difference(before, after, "writes"); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// counted is a kernel that has counted a little of everything.
type counted struct{}

func (counted) Counters() (datapath.Counters, error) {
	c := datapath.Counters{Drops: map[bpf.WeirDropKey]bpf.WeirTraffic{
		{Ifindex: 7, Direction: 1, Reason: 32}:  {Packets: 3, Bytes: 180},
		{Ifindex: 99, Direction: 1, Reason: 32}: {Packets: 5, Bytes: 300}, // a pod that is gone
	}}
	c.Totals[policy.Egress][bpf.WeirReasonREASON_RULE] = bpf.WeirTraffic{Packets: 10, Bytes: 1000}
	return c, nil
}

func (counted) Usage() []datapath.Usage {
	return []datapath.Usage{{Map: "flows", Used: 2, Capacity: 8}, {Map: "peers", Used: 1, Capacity: 8, Written: 3, Deleted: 2}}
}

func (counted) RingUse() [bpf.WeirRingRING_COUNT]datapath.RingUse {
	return [bpf.WeirRingRING_COUNT]datapath.RingUse{bpf.WeirRingRING_ALLOWED: {Waiting: 5, Size: 8, Sample: 4}}
}

func (counted) Lost() ([bpf.WeirRingRING_COUNT]datapath.RingTotals, error) {
	var totals [bpf.WeirRingRING_COUNT]datapath.RingTotals
	totals[bpf.WeirRingRING_DENIED] = datapath.RingTotals{Emitted: 6, Lost: 1, Limited: 2, Thinned: 3, Suppressed: 4}
	return totals, nil
}

// metered is an agent's metrics with policy shop/allow and pod shop/web.
func metered(t *testing.T) (*metrics, *directory) {
	t.Helper()
	dir := newDirectory()
	key := policy.ObjectKey{Namespace: "shop", Name: "allow"}
	p := &policy.Policy{ObjectKey: key, Isolates: [2]bool{true, false}}
	p.Rules[policy.Ingress] = []policy.Rule{{AnyPeer: true, AnyPort: true}}
	dir.apply(policy.Batch{Pods: []*policy.Pod{pod("web", "10.0.0.1")}, Policies: []*policy.Policy{p}})
	dir.setInterface(7, "veth7", policy.ObjectKey{Namespace: "shop", Name: "web"})
	store, err := flows.NewStore(flows.MinCapacity)
	if err != nil {
		t.Fatal(err)
	}
	store.Add(&flows.Flow{Source: flows.Peer{Addr: netip.MustParseAddr("10.0.0.1")}})
	rec, err := newRecording(Options{RuleMetrics: true}, nil, dir, store, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	rec.accounts.Passed(policy.RuleRef{Policy: key, Direction: policy.Ingress}, true, 4, 400)
	rec.accounts.Passed(policy.RuleRef{Policy: key, Direction: policy.Ingress, Index: 1}, true, 4, 400) // gone
	rec.accounts.Denied([]policy.ObjectKey{key}, 9)
	return newMetrics(metrics{
		kernel: counted{}, dir: dir, state: newState("v1", "n1", time.Unix(1, 0)), store: store,
		programs: func() ([]datapath.ProgramRuns, error) {
			return []datapath.ProgramRuns{{Name: "from_pod", Count: 3, Time: 2 * time.Second}, {Name: "to_pod"}}, nil
		},
		recorder: rec.recorder, accounts: rec.accounts, log: rec.log,
	}), dir
}

// shown lists the samples of weir's own metrics, the histogram's left out.
func shown(t *testing.T, m *metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry(), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "weir_") && !strings.HasPrefix(line, "weir_policy_apply_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestMetricsShow(t *testing.T) {
	m, _ := metered(t)
	lines := shown(t, m)
	for _, want := range []string{
		`weir_packets_total{direction="egress",reason="rule"} 10`,
		`weir_bytes_total{direction="egress",reason="rule"} 1000`,
		`weir_dropped_packets_total{direction="egress",namespace="shop",pod="web",reason="no-rule",verdict="denied"} 3`,
		`weir_dropped_bytes_total{direction="egress",namespace="shop",pod="web",reason="no-rule",verdict="denied"} 180`,
		`weir_map_entries{map="flows"} 2`,
		`weir_map_capacity{map="flows"} 8`,
		`weir_map_writes_total{map="peers",operation="write"} 3`,
		`weir_map_writes_total{map="peers",operation="delete"} 2`,
		`weir_events_emitted_total{ring="denied"} 6`,
		`weir_events_suppressed_total{ring="denied",stage="limited"} 2`,
		`weir_events_suppressed_total{ring="denied",stage="thinned"} 3`,
		`weir_events_suppressed_total{ring="denied",stage="repeated"} 4`,
		`weir_events_ring_fill_ratio{ring="allowed"} 0.625`,
		`weir_events_ring_fill_ratio{ring="denied"} 0`,
		`weir_events_sample{ring="allowed"} 4`,
		`weir_events_lost_total{ring="denied"} 1`,
		`weir_events_lost_total{ring="allowed"} 0`,
		`weir_stored_flows 1`,
		`weir_stored_flows_capacity 1024`,
		`weir_remembered_flows 0`,
		`weir_remembered_flows_capacity 131072`,
		`weir_flows_not_remembered_total 0`,
		`weir_subscribers 0`,
		`weir_rule_flows_total{direction="ingress",namespace="shop",policy="allow",rule="0"} 1`,
		`weir_rule_packets_total{direction="ingress",namespace="shop",policy="allow",rule="0"} 4`,
		`weir_rule_bytes_total{direction="ingress",namespace="shop",policy="allow",rule="0"} 400`,
		`weir_policy_denials_total{namespace="shop",policy="allow"} 9`,
		`weir_program_runs_total{program="from_pod"} 3`,
		`weir_program_run_seconds_total{program="from_pod"} 2`,
		`weir_policy_generation 0`,
		`weir_ready 0`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("absent: %s", want)
		}
	}
	for _, line := range lines {
		if strings.Contains(line, `rule="1"`) || strings.Contains(line, "to_pod") || strings.HasSuffix(line, " 5") {
			t.Errorf("shown: %s", line)
		}
	}
}

// A policy and a pod take their series with them.
func TestSeriesGoWithTheirObject(t *testing.T) {
	m, dir := metered(t)
	dir.apply(policy.Batch{
		DeletedPods:     []policy.ObjectKey{{Namespace: "shop", Name: "web"}},
		DeletedPolicies: []policy.ObjectKey{{Namespace: "shop", Name: "allow"}},
	})
	for _, line := range shown(t, m) {
		if strings.Contains(line, `"shop"`) {
			t.Errorf("still shown: %s", line)
		}
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	m, _ := metered(t)
	problems, err := testutil.GatherAndLint(m.registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestStatsOfPolicies(t *testing.T) {
	m, dir := metered(t)
	r := &policyReader{dir: dir, accounts: m.accounts, since: time.Unix(1, 0)}
	stats, err := r.Stats(t.Context(), "shop", "")
	if err != nil || len(stats.Policies) != 1 || !stats.Since.Equal(r.since) {
		t.Fatalf("%+v, %v", stats, err)
	}
	p := stats.Policies[0]
	if p.Denials != 9 || len(p.Rules) != 1 || p.Rules[0].RuleAccount != (flows.RuleAccount{Flows: 1, Packets: 4, Bytes: 400}) {
		t.Errorf("%+v", p)
	}
	if other, err := r.Stats(t.Context(), "other", ""); err != nil || len(other.Policies) != 0 {
		t.Errorf("another namespace: %+v, %v", other, err)
	}
	if _, err := r.Stats(t.Context(), "shop", "nope"); err == nil || !strings.Contains(err.Error(), "policy shop/nope: not found") {
		t.Errorf("no such policy: %v", err)
	}
	r.accounts = nil
	if off, err := r.Stats(t.Context(), "", ""); err != nil || !off.Since.IsZero() {
		t.Errorf("without --rule-metrics: %+v, %v", off, err)
	}
}

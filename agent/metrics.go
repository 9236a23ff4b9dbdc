// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// metrics are read from the kernel and the agent's state when they are asked
// for; only the duration of applies is kept here. Packets are counted by the
// programs, never derived from events.
type metrics struct {
	kernel   kernelCounts
	programs func() ([]datapath.ProgramRuns, error)
	dir      *directory
	state    *state
	store    *flows.Store
	recorder *flows.Recorder
	accounts *flows.Accounts // nil: no series of rules
	source   *source
	log      *slog.Logger

	applySeconds prometheus.Histogram
	descs        map[string]*prometheus.Desc
}

// kernelCounts is what the programs and their maps count.
type kernelCounts interface {
	Counters() (datapath.Counters, error)
	Usage() []datapath.Usage
	Lost() ([bpf.WeirRingRING_COUNT]datapath.RingTotals, error)
	RingUse() [bpf.WeirRingRING_COUNT]datapath.RingUse
}

func newMetrics(m metrics) *metrics {
	m.descs = map[string]*prometheus.Desc{}
	m.applySeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "weir_policy_apply_duration_seconds",
		Help:    "Time to bring a batch of changes into the maps.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14),
	})
	ruleLabels := []string{"namespace", "policy", "direction", "rule"}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"weir_packets_total", "Packets of pods by the direction of policy and reason; GSO counted as segments.", []string{"direction", "reason"}},
		{"weir_bytes_total", "Bytes of pods from layer 3 up.", []string{"direction", "reason"}},
		{"weir_dropped_packets_total", "Packets denied or audited, by pod.", []string{"namespace", "pod", "direction", "reason", "verdict"}},
		{"weir_dropped_bytes_total", "Bytes denied or audited, by pod.", []string{"namespace", "pod", "direction", "reason", "verdict"}},
		{"weir_map_entries", "Entries of a BPF map.", []string{"map"}},
		{"weir_map_capacity", "Entries that a BPF map can hold.", []string{"map"}},
		{"weir_map_writes_total", "Entries that the agent wrote to a table of policy, or deleted from it, since it started.", []string{"map", "operation"}},
		{"weir_events_emitted_total", "Flow events that the programs handed over.", []string{"ring"}},
		{"weir_events_lost_total", "Flow events that found the ring full.", []string{"ring"}},
		{"weir_events_suppressed_total", "Flow events that were held back: limited (one endpoint had too many), thinned (the ring was filling) or repeated (the same denial was told within a second).", []string{"ring", "stage"}},
		{"weir_events_ring_fill_ratio", "Part of the ring that waits to be read. From 0.5 on, allowed flows are told one in so many.", []string{"ring"}},
		{"weir_events_sample", "Of so many events of the ring one is told: 1 for all, 0 while nobody reads the ring.", []string{"ring"}},
		{"weir_endpoints", "Interfaces by state.", []string{"state"}},
		{"weir_policy_generation", "Grows with every change that was applied.", nil},
		{"weir_stored_flows", "Records of flows that are kept for readers.", nil},
		{"weir_stored_flows_capacity", "Records of flows that can be kept.", nil},
		{"weir_remembered_flows", "Live flows whose names are remembered until they end.", nil},
		{"weir_remembered_flows_capacity", "Live flows that can be remembered.", nil},
		{"weir_flows_not_remembered_total", "Flows that came when no more could be remembered.", nil},
		{"weir_subscribers", "Open streams of flows.", nil},
		{"weir_rule_flows_total", "Flows that a rule decided, with --rule-metrics.", ruleLabels},
		{"weir_rule_packets_total", "Packets of flows that a rule decided, both directions, with --rule-metrics.", ruleLabels},
		{"weir_rule_bytes_total", "Bytes of flows that a rule decided, both directions, with --rule-metrics.", ruleLabels},
		{"weir_policy_denials_total", "Packets denied or audited for want of a rule of this policy, as told by events, with --rule-metrics.", []string{"namespace", "policy"}},
		{"weir_program_runs_total", "Runs of a BPF program, while kernel.bpf_stats_enabled is set.", []string{"program"}},
		{"weir_program_run_seconds_total", "Time in a BPF program, while kernel.bpf_stats_enabled is set.", []string{"program"}},
		{"weir_problems", "Faults in manifests, policies or the data path, by condition.", []string{"condition"}},
		{"weir_source_connected", "1 while the API server is watched; 0: the last good state is in force.", nil},
		{"weir_source_last_event_timestamp_seconds", "When the API server told anything last, signs of life included.", nil},
		{"weir_kubernetes_events_total", "Kubernetes events, by what became of them: written, or withheld by the limits.", []string{"outcome"}},
		{"weir_ready", "1 if the agent is ready.", nil},
		{"weir_build_info", "1, with the version.", []string{"version", "go_version"}},
	} {
		m.descs[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	return &m
}

// registry of everything that /metrics shows.
func (m *metrics) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(m, m.applySeconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.collectTraffic(to)
	m.collectMaps(to)
	m.collectEvents(to)
	m.collectPrograms(to)
	m.collectStore(to)
	m.collectAccounts(to)
	m.collectSource(to)
	snapshot := m.state.snapshot()
	for name, n := range snapshot.endpointsByState() {
		m.gauge(to, "weir_endpoints", float64(n), name)
	}
	m.gauge(to, "weir_policy_generation", float64(snapshot.generation))
	ready := 1.0
	for _, c := range snapshot.conditions {
		bad := 0.0
		if !c.OK {
			bad = 1
			if c.blocks {
				ready = 0
			}
		}
		m.gauge(to, "weir_problems", max(bad, float64(c.count)), c.Name)
	}
	m.gauge(to, "weir_ready", ready)
	m.gauge(to, "weir_build_info", 1, m.state.version, runtime.Version())
}

func (m *metrics) collectTraffic(to chan<- prometheus.Metric) {
	counters, err := m.kernel.Counters()
	if err != nil {
		m.log.Error("packet counters cannot be read; /metrics lacks them", "error", err)
		return
	}
	for direction, reasons := range counters.Totals {
		for reason, t := range reasons {
			if t.Packets == 0 {
				continue
			}
			labels := []string{policy.Direction(direction).String(), bpf.ReasonName(bpf.WeirReason(reason))}
			m.counter(to, "weir_packets_total", t.Packets, labels...)
			m.counter(to, "weir_bytes_total", t.Bytes, labels...)
		}
	}
	for key, t := range counters.Drops {
		_, pod := m.dir.Interface(key.Ifindex)
		if pod == nil {
			continue // gone since: its series goes with it
		}
		labels := []string{
			pod.Namespace, pod.Name, policy.Direction(key.Direction).String(),
			bpf.ReasonName(bpf.WeirReason(key.Reason)), bpf.VerdictName(bpf.WeirVerdict(key.Verdict)),
		}
		m.counter(to, "weir_dropped_packets_total", t.Packets, labels...)
		m.counter(to, "weir_dropped_bytes_total", t.Bytes, labels...)
	}
}

func (m *metrics) collectMaps(to chan<- prometheus.Metric) {
	for _, u := range m.kernel.Usage() {
		m.gauge(to, "weir_map_entries", float64(u.Used), u.Map)
		m.gauge(to, "weir_map_capacity", float64(u.Capacity), u.Map)
		if u.Written+u.Deleted > 0 {
			m.counter(to, "weir_map_writes_total", u.Written, u.Map, "write")
			m.counter(to, "weir_map_writes_total", u.Deleted, u.Map, "delete")
		}
	}
}

func (m *metrics) collectEvents(to chan<- prometheus.Metric) {
	rings, err := m.kernel.Lost()
	if err != nil {
		m.log.Error("counts of events cannot be read; /metrics lacks them", "error", err)
		return
	}
	use := m.kernel.RingUse()
	for index, ring := range rings {
		name := bpf.RingName(bpf.WeirRing(index))
		m.counter(to, "weir_events_emitted_total", ring.Emitted, name)
		m.counter(to, "weir_events_lost_total", ring.Lost, name)
		m.counter(to, "weir_events_suppressed_total", ring.Limited, name, "limited")
		m.counter(to, "weir_events_suppressed_total", ring.Thinned, name, "thinned")
		m.counter(to, "weir_events_suppressed_total", ring.Suppressed, name, "repeated")
		m.gauge(to, "weir_events_ring_fill_ratio", use[index].Fill(), name)
		m.gauge(to, "weir_events_sample", float64(use[index].Sample), name)
	}
}

// collectPrograms: without the kernel's statistics there is nothing to show.
func (m *metrics) collectPrograms(to chan<- prometheus.Metric) {
	programs, err := m.programs()
	if err != nil {
		m.log.Error("runs of programs cannot be read; /metrics lacks them", "error", err)
		return
	}
	for _, p := range programs {
		if p.Count > 0 {
			m.counter(to, "weir_program_runs_total", p.Count, p.Name)
			to <- prometheus.MustNewConstMetric(m.descs["weir_program_run_seconds_total"], prometheus.CounterValue, p.Time.Seconds(), p.Name)
		}
	}
}

func (m *metrics) collectStore(to chan<- prometheus.Metric) {
	oldest, newest := m.store.Bounds()
	m.gauge(to, "weir_stored_flows", float64(newest+1-oldest))
	m.gauge(to, "weir_stored_flows_capacity", float64(m.store.Capacity()))
	m.gauge(to, "weir_subscribers", float64(m.store.Subscribers()))
	remembered, capacity, overflow := m.recorder.Remembered()
	m.gauge(to, "weir_remembered_flows", float64(remembered))
	m.gauge(to, "weir_remembered_flows_capacity", float64(capacity))
	m.counter(to, "weir_flows_not_remembered_total", overflow)
}

func (m *metrics) collectSource(to chan<- prometheus.Metric) {
	if m.source == nil || m.source.connection == nil {
		return // files have no connection
	}
	c := m.source.connection()
	connected := 1.0
	if c.Err != nil {
		connected = 0
	}
	m.gauge(to, "weir_source_connected", connected)
	if !c.LastEvent.IsZero() {
		m.gauge(to, "weir_source_last_event_timestamp_seconds", float64(c.LastEvent.UnixMilli())/1000)
	}
	if m.source.events != nil {
		written, withheld := m.source.events.Counts()
		m.counter(to, "weir_kubernetes_events_total", written, "written")
		m.counter(to, "weir_kubernetes_events_total", withheld, "withheld")
	}
}

func (m *metrics) collectAccounts(to chan<- prometheus.Metric) {
	if m.accounts == nil {
		return
	}
	rules, denials := m.accounts.Counts()
	for ref, account := range rules {
		if !m.dir.hasRule(ref) {
			continue // gone since the last walk
		}
		labels := []string{ref.Policy.Namespace, ref.Policy.Name, ref.Direction.String(), strconv.Itoa(ref.Index)}
		m.counter(to, "weir_rule_flows_total", account.Flows, labels...)
		m.counter(to, "weir_rule_packets_total", account.Packets, labels...)
		m.counter(to, "weir_rule_bytes_total", account.Bytes, labels...)
	}
	for key, packets := range denials {
		if m.dir.hasPolicy(key) {
			m.counter(to, "weir_policy_denials_total", packets, key.Namespace, key.Name)
		}
	}
}

func (m *metrics) gauge(to chan<- prometheus.Metric, name string, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.descs[name], prometheus.GaugeValue, value, labels...)
}

func (m *metrics) counter(to chan<- prometheus.Metric, name string, value uint64, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.descs[name], prometheus.CounterValue, float64(value), labels...)
}

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// metrics are read from the kernel and the agent's state when they are asked
// for; only the duration of applies is kept here. Packets are counted by the
// programs, never derived from events.
type metrics struct {
	dp    *datapath.Datapath
	dir   *directory
	state *state
	log   *slog.Logger

	applySeconds prometheus.Histogram
	descs        map[string]*prometheus.Desc
}

func newMetrics(dp *datapath.Datapath, dir *directory, st *state, log *slog.Logger) *metrics {
	m := &metrics{dp: dp, dir: dir, state: st, log: log, descs: map[string]*prometheus.Desc{}}
	m.applySeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "weir_policy_apply_duration_seconds",
		Help:    "Time to bring a batch of changes into the maps.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14),
	})
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"weir_packets_total", "Packets of pods by the direction of policy, verdict and reason; GSO counted as segments.", []string{"direction", "reason"}},
		{"weir_bytes_total", "Bytes of pods from layer 3 up.", []string{"direction", "reason"}},
		{"weir_dropped_packets_total", "Packets denied or audited, by pod.", []string{"namespace", "pod", "direction", "reason", "verdict"}},
		{"weir_dropped_bytes_total", "Bytes denied or audited, by pod.", []string{"namespace", "pod", "direction", "reason", "verdict"}},
		{"weir_map_entries", "Entries of a BPF map.", []string{"map"}},
		{"weir_map_capacity", "Entries that a BPF map can hold.", []string{"map"}},
		{"weir_events_emitted_total", "Flow events that the programs handed over.", []string{"ring"}},
		{"weir_events_lost_total", "Flow events that found the ring full.", []string{"ring"}},
		{"weir_endpoints", "Interfaces by state.", []string{"state"}},
		{"weir_policy_generation", "Grows with every change that was applied.", nil},
		{"weir_problems", "Faults in manifests, policies or the data path, by condition.", []string{"condition"}},
		{"weir_ready", "1 if the agent is ready.", nil},
		{"weir_build_info", "1, with the version.", []string{"version", "go_version"}},
	} {
		m.descs[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	return m
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
	counters, err := m.dp.Counters()
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
	for _, u := range m.dp.Usage() {
		m.gauge(to, "weir_map_entries", float64(u.Used), u.Map)
		m.gauge(to, "weir_map_capacity", float64(u.Capacity), u.Map)
	}
	rings, err := m.dp.Lost()
	if err != nil {
		m.log.Error("counts of events cannot be read; /metrics lacks them", "error", err)
		return
	}
	for ring, name := range [...]string{bpf.WeirRingRING_ALLOWED: "allowed", bpf.WeirRingRING_DENIED: "denied"} {
		m.counter(to, "weir_events_emitted_total", rings[ring].Emitted, name)
		m.counter(to, "weir_events_lost_total", rings[ring].Lost, name)
	}
}

func (m *metrics) gauge(to chan<- prometheus.Metric, name string, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.descs[name], prometheus.GaugeValue, value, labels...)
}

func (m *metrics) counter(to chan<- prometheus.Metric, name string, value uint64, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.descs[name], prometheus.CounterValue, float64(value), labels...)
}

// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Targets of the agent under churn.
const (
	targetCPU     = 5.0   // percent of a core
	targetMemory  = 150e6 // bytes resident
	targetLatency = 10.0  // ms, p99
)

// extrapolated is the number of agents that the costs of clients are scaled to.
const extrapolated = 1000

// page is written line by line.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// row of a table.
func (p *page) row(cells ...string) { p.line("| %s |", strings.Join(cells, " | ")) }

func (p *page) table(head ...string) {
	p.line("")
	p.row(head...)
	p.row(slices.Repeat([]string{"---"}, len(head))...)
}

// Page is the result for readers, in Markdown.
func (r Result) Page() string {
	p := &page{}
	p.line("# Scale")
	p.line("")
	p.line("Made by `make scale`; do not edit.")
	r.writeMachine(p)
	r.writeTargets(p)
	r.writeMemory(p)
	r.writeChurn(p)
	r.writeLatency(p)
	r.writeClients(p)
	return p.String()
}

func (r Result) writeMachine(p *page) {
	m := r.Machine
	p.table("", "")
	p.row("weir", m.Commit)
	p.row("machine", fmt.Sprintf("%s, %d CPUs, %d MB; etcd, the API server, kwok, this program and the agent share them", m.Machine, m.CPUs, m.Memory))
	p.row("kernel, Go", m.Kernel+", "+m.Go)
	p.row("begun", fmt.Sprintf("%s, load average %.2f; took %s", m.Began.Format(time.RFC3339), m.Load, time.Duration(m.Seconds)*time.Second))
	p.line("")
	p.line("The cluster: %d fake nodes and the node under test; %d pods, of which %d on that node, in network namespaces of their own with veths; %d policies in %d namespaces, which select every pod of the node, in both directions.",
		r.Plan.Nodes, r.Plan.Pods, r.Plan.Local, r.Plan.Policies, r.Plan.Namespaces)
	p.line("kwok gives the others addresses of both families; their nodes send no signs of life, and nothing schedules. %d of the pods are churned: each second %d are created and the %d oldest deleted. The policies' terms match half of those, so such a pod is two addresses to write and to delete.",
		r.Plan.Churned(), r.Plan.Rate, r.Plan.Rate)
	p.line("The agent is the shipped one, in enforce mode, with the rights and the account of the chart. At the end its table of peers agreed with the API server's pods (%d addresses with a class, in %d classes; %d without), and connections between local pods, and from them to churned pods, were allowed (%d) and denied (%d) as the policies say.",
		r.Churn.Agreement.Classed, r.Churn.Agreement.Classes, r.Churn.Agreement.Plain, r.Probes.Allowed, r.Probes.Denied)
}

func (r Result) writeTargets(p *page) {
	verdict := func(met bool) string {
		if met {
			return "met"
		}
		return "**missed**"
	}
	p.line("")
	p.line("## Against the targets")
	p.line("")
	p.line("Under churn of %d pods a second, for %.0f s.", r.Plan.Rate, r.Churn.Seconds)
	p.table("", "measured", "target", "")
	p.row("CPU of the agent", fmt.Sprintf("%.2f %% of a core", r.Churn.CPU), fmt.Sprintf("under %.0f %%", targetCPU), verdict(r.Churn.CPU < targetCPU))
	p.row("resident memory, peak since its start", megabytes(r.Churn.Memory.ResidentPeak), fmt.Sprintf("under %.0f MB", targetMemory/1e6), verdict(float64(r.Churn.Memory.ResidentPeak) < targetMemory))
	p.row("watch event to map write, p99", fmt.Sprintf("%.2f ms", r.Churn.Added.P99), fmt.Sprintf("under %.0f ms", targetLatency), verdict(r.Churn.Added.P99 < targetLatency))
}

func (r Result) writeMemory(p *page) {
	p.line("")
	p.line("## The agent at rest and under load")
	p.line("")
	limit := "the machine's memory"
	if r.Limit > 0 {
		limit = fmt.Sprintf("the chart's limit, %s, within which the agent ran here", megabytes(r.Limit))
	}
	p.line("Charged is what a container's limit counts: resident memory, and the maps in the kernel, whose sizes follow %s.", limit)
	p.table("", "CPU of a core", "resident", "peak", "Go heap", "charged", "peak", "from the API server", "to it")
	row := func(name, cpu string, m Memory, received, sent uint64, seconds float64) {
		p.row(name, cpu, megabytes(m.Resident), megabytes(m.ResidentPeak), megabytes(m.Heap), megabytes(m.Charged), megabytes(m.ChargedPeak),
			rate(float64(received)/seconds), rate(float64(sent)/seconds))
	}
	rest := func(name string, of Rest) {
		row(name, fmt.Sprintf("%.2f %%", of.CPU), of.Memory, of.Received, of.Sent, of.Seconds)
	}
	rest(fmt.Sprintf("%d local pods, nothing else, no policies", r.Plan.Local), r.Bare)
	rest("the whole cluster, at rest", r.Rest)
	row("churn", fmt.Sprintf("%.2f %%", r.Churn.CPU), r.Churn.Memory, r.Churn.Received, r.Churn.Sent, r.Churn.Seconds)
	p.line("")
	p.line("Start in the whole cluster: ready after %.1f s (%.2f s of CPU) with %d local pods enforced; %d requests, %s received, %s sent.",
		r.Start.Seconds, r.Start.CPU, r.Start.Enforced, r.Start.Requests, megabytes(r.Start.Received), megabytes(r.Start.Sent))
}

func (r Result) writeChurn(p *page) {
	c := r.Churn
	p.line("")
	p.line("## What the churn is to the agent")
	p.table("", "in all", "a second")
	count := func(name string, n float64) {
		p.row(name, fmt.Sprintf("%.0f", n), fmt.Sprintf("%.1f", n/c.Seconds))
	}
	count("pods created", float64(c.Created))
	count("pods deleted", float64(c.Churned.Deleted))
	count("requests to the API server; its watches go on", float64(c.Requests))
	count("bytes received, layer 2", float64(c.Received))
	count("bytes sent, layer 2", float64(c.Sent))
	count("batches applied", c.Applies)
	for _, name := range slices.Sorted(maps.Keys(c.Writes)) {
		count("entries, "+strings.ReplaceAll(name, `"`, ""), c.Writes[name])
	}
	count("moves of the epoch", float64(c.Epochs))
	p.line("")
	p.line("A batch took %.2f ms on average, from its arrival at the controller until it was in force; collections, which delete what nothing refers to, are not in this. Meanwhile etcd and the API server, one process, used %.1f %% of a core.", c.ApplyMean, c.APICPU)
}

func (r Result) writeLatency(p *page) {
	p.line("")
	p.line("## From the watch event to the map")
	p.line("")
	p.line("The clock starts when this program has read the last byte of the event, by the faster of two watches of its own, and stops when it has seen every address of the pod in the table of peers with a class, or without one, by looking again and again. An address that a pod gives up first gets class 0, which denies; its entry is deleted within about a second, which is not timed here. So it holds what the agent does (to read, decode, gather for 1 ms, resolve, compile, write) and the scheduling of both processes, but not how much earlier or later the server served the agent's own watch: how far the two watches of this program were apart shows how much that is.")
	p.table("ms", "p50", "p90", "p99", "max", "of")
	quantiles := func(name string, q Quantiles) {
		p.row(name, fmt.Sprintf("%.2f", q.P50), fmt.Sprintf("%.2f", q.P90), fmt.Sprintf("%.2f", q.P99), fmt.Sprintf("%.2f", q.Max), fmt.Sprint(q.Count))
	}
	quantiles("a pod got its addresses, to its class written", r.Churn.Added)
	quantiles("a pod was deleted, to its class taken away", r.Churn.Gone)
	quantiles("between two looks at the table", r.Churn.Looks)
	quantiles("the two watches apart", r.Churn.Apart)
	p.line("")
	p.line("%d changes were not followed within 10 s. %d pods got an address that still stood there for the pod before, and are left out.", r.Churn.Missed, r.Churn.Reused)
}

func (r Result) writeClients(p *page) {
	c := r.Clients
	p.line("")
	p.line("## What agents cost the API server")
	p.line("")
	if len(c.Phases) == 0 {
		p.line("Not measured in this run.")
		return
	}
	p.line("%d clients without an agent watch what an agent watches (pods, namespaces, policies, Services, EndpointSlices, one node; streaming lists, protobuf), each over a connection of its own, and throw it away. The agent has ended. CPU is that of etcd and the API server, one process; the clients run on the same machine.", c.Count)
	p.table("clients", "churn, pods a second", "seconds", "CPU of a core", "bytes to each", "events to each")
	at := map[[2]int]Phase{}
	for _, phase := range c.Phases {
		at[[2]int{min(phase.Clients, 1), min(phase.Rate, 1)}] = phase
		p.row(fmt.Sprint(phase.Clients), fmt.Sprint(phase.Rate), fmt.Sprintf("%.0f", phase.Seconds), fmt.Sprintf("%.1f %%", phase.APICPU), rate(phase.Bytes), fmt.Sprintf("%.1f a second", phase.Events))
	}
	p.line("")
	p.line("The first lists of a client: %s, and %.2f s of CPU.", megabytes(uint64(c.ListBytes)), c.ListCPU)
	p.line("")
	p.line("Extrapolated, in a straight line, not measured: what clients add to the API server, without what it does for itself.")
	p.table("", "a client", fmt.Sprintf("%d clients", extrapolated))
	for _, busy := range []int{0, 1} {
		with, without := at[[2]int{1, busy}], at[[2]int{0, busy}]
		each := (with.APICPU - without.APICPU) / float64(c.Count)
		name := "at rest"
		if busy == 1 {
			name = fmt.Sprintf("churn of %d pods a second", with.Rate)
		}
		p.row("CPU of a core, "+name, fmt.Sprintf("%.3f %%", each), fmt.Sprintf("%.1f cores", each*extrapolated/100))
		p.row("bytes, "+name, rate(with.Bytes), rate(with.Bytes*extrapolated))
	}
	p.row("first lists, CPU", fmt.Sprintf("%.2f s", c.ListCPU), fmt.Sprintf("%.0f s", c.ListCPU*extrapolated))
	p.row("first lists, bytes", megabytes(uint64(c.ListBytes)), fmt.Sprintf("%.1f GB", c.ListBytes*extrapolated/1e9))
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// rate of bytes.
func rate(perSecond float64) string {
	if perSecond >= 1e6 {
		return fmt.Sprintf("%.1f MB/s", perSecond/1e6)
	}
	return fmt.Sprintf("%.1f kB/s", perSecond/1e3)
}

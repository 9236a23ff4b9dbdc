// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

// TestRandom compares the oracle with the interpreter on random states and
// histories, and a sample with the programs where there is root. A state on
// which they differ is made smaller, and printed as a scenario. The seed is
// printed; WEIR_RANDOM_SEED sets it, WEIR_RANDOM_SECONDS how long it runs.
func TestRandom(t *testing.T) {
	seed := uint64(number(t, "WEIR_RANDOM_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("seed %d", seed)
	var programs func() (Engine, error)
	if os.Geteuid() == 0 {
		m := machine(t)
		programs = func() (Engine, error) { return NewPrograms(m) }
	}
	end := time.Now().Add(time.Duration(number(t, "WEIR_RANDOM_SECONDS", 3)) * time.Second)
	histories, judged, sampled := 0, 0, 0
	for ; histories == 0 || time.Now().Before(end); histories++ {
		c := chance{rand.New(rand.NewPCG(seed, uint64(histories)))}
		statements := c.statements()
		r := run{programs: programs}
		found := r.differ(statements)
		judged += r.judged
		sampled += r.sampled
		if found == nil {
			continue
		}
		r.only = &found.probe
		statements = shrink(statements, func(part []string) bool { return r.differ(part) != nil })
		if smaller := r.differ(statements); smaller != nil {
			found = smaller
		}
		t.Fatalf("seed %d, history %d: %s\n%s", seed, histories, found.text, asText(statements))
	}
	t.Logf("%d histories, %d verdicts compared, %d of them with the programs", histories, judged, sampled)
	if programs != nil && histories > 20 && sampled == 0 {
		t.Error("no history of them all could be shown to the programs")
	}
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

func asText(statements []string) string {
	return "scenario \"random\"\n" + strings.Join(statements, "\n") + "\n"
}

// run compares engines on one list of statements.
type run struct {
	programs func() (Engine, error) // nil: none
	only     *Probe                 // nil: all that are interesting
	judged   int
	sampled  int // with the programs, among judged
}

// fault is a probe on which two engines differ.
type fault struct {
	probe Probe
	text  string
}

// differ returns the first fault. Statements about objects that are not there
// are left out.
func (r *run) differ(statements []string) *fault {
	s, err := scenarioOf(statements)
	if err != nil {
		return nil
	}
	oracle, interpreter := NewOracle(), NewInterpreter()
	for i, step := range s.Steps {
		_, _ = oracle.Apply(step.Batch), interpreter.Apply(step.Batch) // neither can fail
		if f := r.compare(fmt.Sprintf("step %d, interpreter", i), r.probes(oracle.world), oracle, interpreter); f != nil {
			return f
		}
	}
	return r.differOnPrograms(s)
}

// differOnPrograms compares a sample in the final state.
func (r *run) differOnPrograms(s Scenario) *fault {
	if r.programs == nil {
		return nil
	}
	oracle := NewOracle()
	kernel, err := r.programs()
	if err != nil {
		return &fault{text: err.Error()}
	}
	for _, step := range s.Steps {
		_ = oracle.Apply(step.Batch)
		if sharesAddresses(oracle.world) {
			return nil
		}
		if err := kernel.Apply(step.Batch); err != nil {
			return &fault{text: "programs: " + err.Error()}
		}
	}
	probes := r.probes(oracle.world)
	const size = 60
	var sample []Probe
	for i := 0; i < len(probes); i += len(probes)/size + 1 {
		sample = append(sample, probes[i])
	}
	before := r.judged
	f := r.compare("programs", sample, oracle, kernel)
	r.sampled += r.judged - before
	return f
}

// probes are the interesting ones, or the one that differed.
func (r *run) probes(w *World) []Probe {
	if r.only == nil {
		return interesting(w)
	}
	p := *r.only
	for _, end := range []*End{&p.Source, &p.Destination} {
		if end.Pod == nil {
			continue
		}
		end.Pod = w.Pods[end.Pod.ObjectKey]
		if end.Pod == nil || !isSubject(end.Pod) || !slices.Contains(end.Pod.IPs, end.Addr) {
			return nil
		}
	}
	return []Probe{p}
}

// scenarioOf drops statements that do not hold, as a deletion of what is not
// there.
func scenarioOf(statements []string) (Scenario, error) {
	kept := slices.Clone(statements)
	for {
		p := &parser{name: "random", lines: strings.Split(asText(kept), "\n")}
		scenarios, err := p.parse()
		if err == nil {
			return scenarios[0], nil
		}
		if len(kept) == 0 {
			return Scenario{}, err
		}
		bad := slices.IndexFunc(kept, func(s string) bool { return strings.Contains(s, "delete ") && !stands(kept, s) })
		if bad < 0 {
			return Scenario{}, err
		}
		kept = slices.Delete(kept, bad, bad+1)
	}
}

// stands reports whether a deletion parses behind the statements before it.
func stands(statements []string, deletion string) bool {
	upTo := slices.Index(statements, deletion)
	p := &parser{name: "random", lines: strings.Split(asText(statements[:upTo+1]), "\n")}
	_, err := p.parse()
	return err == nil
}

func (r *run) compare(name string, probes []Probe, oracle, other Engine) *fault {
	want, err := oracle.Judge(probes)
	if err != nil {
		return &fault{text: err.Error()}
	}
	got, err := other.Judge(probes)
	if err != nil {
		return &fault{text: name + ": " + err.Error()}
	}
	for i, p := range probes {
		if got[i].Skipped != "" || want[i].Skipped != "" {
			continue
		}
		r.judged++
		if differs := want[i].differs(got[i]); differs != "" {
			return &fault{p, fmt.Sprintf("%s: %s: %s", name, p, differs)}
		}
	}
	return nil
}

// sharesAddresses: two pods of this node with one address cannot both send
// from it.
func sharesAddresses(w *World) bool {
	owners := map[netip.Addr]bool{}
	for _, p := range w.Pods {
		for _, addr := range p.IPs {
			if owners[addr] {
				return true
			}
			owners[addr] = true
		}
	}
	return false
}

// interesting are flows between each pod of this node and each address that
// some policy might tell from its neighbour.
func interesting(w *World) []Probe {
	var out []Probe
	peers := interestingAddrs(w)
	for _, key := range keys(w.Pods) {
		pod := w.Pods[key]
		if !isSubject(pod) {
			continue
		}
		for _, addr := range peers {
			own := slices.IndexFunc(pod.IPs, func(a netip.Addr) bool { return a.Is4() == addr.Is4() })
			if own < 0 || slices.Contains(pod.IPs, addr) {
				continue
			}
			subject, peer := End{Name: key.String(), Addr: pod.IPs[own], Pod: pod}, End{Name: "peer", Addr: addr}
			for _, p := range targets(addr) {
				p.Source, p.Destination = subject, peer
				out = append(out, p)
				p.Source, p.Destination = peer, subject
				out = append(out, p)
			}
		}
	}
	return out
}

func targets(addr netip.Addr) []Probe {
	out := []Probe{{Protocol: policy.ICMP}, {Protocol: 33}}
	if !addr.Is4() {
		out[0].Protocol = policy.ICMPv6
	}
	for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
		for _, port := range []uint16{0, 1, 79, 80, 81, 82, 399, 443, 444, 65535} {
			out = append(out, Probe{Protocol: protocol, Port: port})
		}
	}
	return out
}

func interestingAddrs(w *World) []netip.Addr {
	seen := map[netip.Addr]bool{}
	for _, p := range w.Pods {
		for _, addr := range p.IPs {
			seen[addr] = true
		}
	}
	for _, text := range []string{
		"10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8", "10.0.1.1", "10.0.1.4", "10.1.0.1", "192.0.2.1", "203.0.113.1",
		"fd00::3", "fd00::5", "fd00::8", "fd00:0:0:1::3", "fd00:0:0:2::1", "2001:db8::1", "2002::1", "fe80::1", "fe80::2", "fe80:0:0:1::1",
	} {
		seen[netip.MustParseAddr(text)] = true
	}
	var out []netip.Addr
	for addr := range seen {
		out = append(out, addr)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// shrink drops statements one by one for as long as the fault stays.
func shrink(statements []string, fails func([]string) bool) []string {
	for i := 0; i < len(statements); {
		part := slices.Delete(slices.Clone(statements), i, i+1)
		if fails(part) {
			statements, i = part, 0
		} else {
			i++
		}
	}
	return statements
}

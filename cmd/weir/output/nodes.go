// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// Nodes writes a line for each agent of a cluster.
func Nodes(to io.Writer, list []*pb.StatusResponse, style Style) error {
	var b strings.Builder
	var t table
	t.header("NODE", "READY", "MODE", "GENERATION", "ENDPOINTS", "RINGS", "SAMPLING", "LOST", "AGENT", "NOT OK")
	for _, s := range list {
		ready := cell{text: "yes", color: green}
		if !s.GetReady() {
			ready = cell{text: "NO", color: red}
		}
		lost := cell{text: strconv.FormatUint(s.GetEventsLost(), 10)}
		if s.GetEventsLost() > 0 {
			lost.color = yellow
		}
		t.add(text(s.GetNode()), ready, text(orDash(s.GetMode())), cell{text: strconv.FormatUint(s.GetGeneration(), 10)},
			cell{text: orDash(stateCounts(s.GetEndpointsByState()))}, cell{text: fullest(s.GetRings())}, sampling(s.GetRings()),
			lost, text(orDash(s.GetVersion())), cell{text: orDash(failing(s.GetConditions()))})
	}
	t.write(&b, style)
	return flush(to, &b)
}

func stateCounts(states map[string]uint32) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		parts = append(parts, fmt.Sprintf("%d %s", states[state], Escape(state)))
	}
	return strings.Join(parts, ", ")
}

// fullest of the rings.
func fullest(rings []*pb.Ring) string {
	var most *pb.Ring
	for _, r := range rings {
		if r.GetSize() > 0 && (most == nil || float64(r.GetWaiting())/float64(r.GetSize()) > float64(most.GetWaiting())/float64(most.GetSize())) {
			most = r
		}
	}
	if most == nil {
		return "-"
	}
	return percent(float64(most.GetWaiting()), float64(most.GetSize()))
}

// sampling of the ring that is thinned most.
func sampling(rings []*pb.Ring) cell {
	var most uint32
	for _, r := range rings {
		most = max(most, r.GetSample())
	}
	return sample(most)
}

func sample(one uint32) cell {
	switch one {
	case 0:
		return cell{text: "-"}
	case 1:
		return cell{text: "all"}
	}
	return cell{text: fmt.Sprintf("1 in %d", one), color: yellow}
}

// ringUse writes how full the rings of events are, and what was held back.
func ringUse(b *strings.Builder, rings []*pb.Ring, style Style) {
	if len(rings) == 0 {
		return
	}
	title(b, "Rings of events", style)
	t := table{indent: "  "}
	t.header("NAME", "FILLED", "TOLD", "EMITTED", "LOST", "LIMITED", "THINNED", "REPEATED")
	for _, r := range rings {
		lost := cell{text: strconv.FormatUint(r.GetLost(), 10)}
		if r.GetLost() > 0 {
			lost.color = yellow
		}
		t.add(text(r.GetName()), cell{text: fullest([]*pb.Ring{r})}, sample(r.GetSample()), count(r.GetEmitted()), lost,
			count(r.GetLimited()), count(r.GetThinned()), count(r.GetRepeated()))
	}
	t.write(b, style)
}

func count(n uint64) cell { return cell{text: strconv.FormatUint(n, 10)} }

// PolicyAt is what the agent of a node says of a policy; nil: it knows none.
type PolicyAt struct {
	Node   string
	Policy *pb.Policy
	// Newest: no node holds a newer version of it.
	Newest bool
}

// InForce tells whether the node enforces the policy's newest version on all its
// pods, and if not, why.
func (p PolicyAt) InForce() (why string) {
	switch states := p.Policy.GetPodsByState(); {
	case p.Policy == nil:
		return "not known to the agent yet, or deleted"
	case !p.Newest:
		return "an older version is in force"
	case !p.Policy.GetInForce():
		return "not in the maps yet; weir status --node shows why if it stays so"
	case states["notready"] > 0:
		return fmt.Sprintf("%d pods are not ready", states["notready"])
	case states["unenforceable"] > 0:
		return fmt.Sprintf("%d pods cannot be enforced", states["unenforceable"])
	case states["audited"] > 0:
		return "audited: what it denies passes"
	case states["unmanaged"] > 0:
		return fmt.Sprintf("%d pods are not managed", states["unmanaged"])
	}
	return ""
}

// PolicyStatus writes where a policy is in force.
func PolicyStatus(to io.Writer, name string, list []PolicyAt, style Style) error {
	var b strings.Builder
	enforced := 0
	for _, p := range list {
		if p.InForce() == "" {
			enforced++
		}
	}
	fmt.Fprintf(&b, "%s is in force on %d of %d nodes that answered\n", Escape(name), enforced, len(list))
	var t table
	t.header("NODE", "IN FORCE", "GENERATION", "PODS", "WHY NOT", "PROBLEMS")
	for _, p := range list {
		state := cell{text: "yes", color: green}
		why := p.InForce()
		if why != "" {
			state = cell{text: "NO", color: red}
		}
		generation := "-"
		if g := p.Policy.GetObjectGeneration(); g > 0 {
			generation = strconv.FormatInt(g, 10)
		}
		problems := cell{text: "-"}
		if n := problemCount(p.Policy); n > 0 {
			problems = cell{text: strconv.Itoa(n), color: red}
		}
		t.add(text(orDash(p.Node)), state, cell{text: generation}, cell{text: orDash(stateCounts(p.Policy.GetPodsByState()))}, cell{text: orDash(why)}, problems)
	}
	t.write(&b, style)
	return flush(to, &b)
}

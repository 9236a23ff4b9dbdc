// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "github.com/weirnet/weir/api/v1"
)

// Status writes the agent's state for people; now is the reader's clock.
func Status(to io.Writer, s *pb.StatusResponse, now time.Time, style Style) error {
	var b strings.Builder
	summary(&b, s, now, style)
	conditions(&b, s, style)
	endpointStates(&b, s.GetEndpointsByState(), style)
	ringUse(&b, s.GetRings(), style)
	mapUse(&b, s.GetMaps(), style)
	features(&b, s.GetFeatures(), style)
	neighbours(&b, s.GetNeighbours(), style)
	return flush(to, &b)
}

func flush(to io.Writer, b *strings.Builder) error {
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func title(b *strings.Builder, text string, style Style) {
	b.WriteString("\n" + style.paint(bold, text) + "\n")
}

func summary(b *strings.Builder, s *pb.StatusResponse, now time.Time, style Style) {
	var t table
	line := func(name, value string, c color) {
		t.add(cell{text: name, color: bold}, cell{text: value, color: c})
	}
	switch names := failing(s.GetConditions()); {
	case s.GetReady() && names == "":
		line("Ready", "yes", green)
	case s.GetReady():
		line("Ready", "yes, with warnings: "+names, yellow)
	case names == "":
		line("Ready", "NO, and the agent names no condition that fails; see its log", red)
	default:
		line("Ready", "NO: "+names, red)
	}
	line("Node", orDash(Escape(s.GetNode())), plain)
	line("Agent", orDash(Escape(s.GetVersion()))+uptime(s, now, style), plain)
	line("Mode", orDash(Escape(s.GetMode())), plain)
	line("Objects", orDash(Escape(s.GetSource())), plain)
	line("Kernel", orDash(Escape(s.GetKernel())), plain)
	line("Policy", fmt.Sprintf("generation %d, last change applied in %s, epoch %d", s.GetGeneration(),
		s.GetLastApply().AsDuration().Round(time.Microsecond), s.GetEpoch()), plain)
	lost := plain
	if s.GetEventsLost() > 0 {
		lost = yellow
	}
	line("Events", fmt.Sprintf("%d emitted, %d lost%s", s.GetEventsEmitted(), s.GetEventsLost(),
		lostShare(s.GetEventsEmitted(), s.GetEventsLost())), lost)
	line("Readers", strconv.FormatUint(s.GetSubscribers(), 10), plain)
	t.write(b, style)
}

// failing names the conditions that do not hold.
func failing(conditions []*pb.Condition) string {
	var names []string
	for _, c := range conditions {
		if !c.GetOk() {
			names = append(names, Escape(c.GetName()))
		}
	}
	return strings.Join(names, ", ")
}

func uptime(s *pb.StatusResponse, now time.Time, style Style) string {
	if s.GetStarted() == nil {
		return ""
	}
	started := s.GetStarted().AsTime()
	said := ", since " + style.in(started).Format("2006-01-02 15:04:05 MST")
	if up := now.Sub(started); up >= 0 {
		said += " (" + rough(up) + ")"
	}
	return said
}

// rough is a duration in its two largest units: nobody needs the seconds of
// an agent that is up for a month.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func lostShare(emitted, lost uint64) string {
	if lost == 0 {
		return ""
	}
	return " (" + percent(float64(lost), float64(emitted)+float64(lost)) + " of all)"
}

// percent never rounds a part that is not nothing down to 0, nor one that is
// not all up to 100.
func percent(part, whole float64) string {
	if whole <= 0 {
		return "-"
	}
	share := 100 * part / whole
	switch {
	case part > 0 && share < 0.1:
		return "<0.1 %"
	case share > 99.9 && share < 100:
		return ">99.9 %"
	}
	return strconv.FormatFloat(share, 'f', 1, 64) + " %"
}

func conditions(b *strings.Builder, s *pb.StatusResponse, style Style) {
	if len(s.GetConditions()) == 0 {
		return
	}
	title(b, "Conditions", style)
	// What fails while the agent is ready does not hold it back.
	bad := cell{text: "FAILING", color: red}
	if s.GetReady() {
		bad = cell{text: "WARNING", color: yellow}
	}
	sorted := slices.Clone(s.GetConditions())
	// Failing ones first: they are what one looks for.
	slices.SortStableFunc(sorted, func(x, y *pb.Condition) int {
		return rank(x.GetOk()) - rank(y.GetOk())
	})
	t := table{indent: "  "}
	for _, c := range sorted {
		state := cell{text: "ok", color: green}
		if !c.GetOk() {
			state = bad
		}
		t.add(state, text(c.GetName()), text(c.GetMessage()))
	}
	t.write(b, style)
}

func rank(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

func endpointStates(b *strings.Builder, states map[string]uint32, style Style) {
	title(b, "Endpoints", style)
	t := table{indent: "  "}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		t.add(cell{text: Escape(state), color: stateColor(state)}, number(strconv.FormatUint(uint64(states[state]), 10)))
	}
	if len(states) == 0 {
		t.add(cell{text: "none on this node"})
	}
	t.write(b, style)
}

func stateColor(state string) color {
	switch state {
	case "enforced":
		return green
	case "audited":
		return yellow
	case "notready", "unenforceable":
		return red
	}
	return plain
}

// nearlyFull is the share at which a map deserves attention before it fills.
const nearlyFull = 0.9

func mapUse(b *strings.Builder, list []*pb.MapUse, style Style) {
	if len(list) == 0 {
		return
	}
	title(b, "Maps", style)
	t := table{indent: "  "}
	t.add(cell{text: "NAME", color: bold}, cell{text: "ENTRIES", color: bold, right: true},
		cell{text: "CAPACITY", color: bold, right: true}, cell{text: "USED", color: bold, right: true})
	for _, m := range list {
		used, full := float64(m.GetEntries()), float64(m.GetCapacity())
		row := []cell{text(m.GetName()), number(strconv.FormatUint(m.GetEntries(), 10)),
			number(strconv.FormatUint(m.GetCapacity(), 10)), number(percent(used, full))}
		switch {
		case full > 0 && used >= full:
			row = append(row, cell{text: "FULL", color: red})
		case full > 0 && used >= nearlyFull*full:
			row = append(row, cell{text: "nearly full", color: yellow})
		}
		t.add(row...)
	}
	t.write(b, style)
}

func features(b *strings.Builder, list []*pb.Feature, style Style) {
	if len(list) == 0 {
		return
	}
	title(b, "Kernel features", style)
	t := table{indent: "  "}
	for _, f := range list {
		t.add(text(f.GetName()), text(orDash(f.GetInUse())), text(f.GetWhy()))
	}
	t.write(b, style)
}

func neighbours(b *strings.Builder, list []*pb.Neighbour, style Style) {
	if len(list) == 0 {
		return
	}
	title(b, "Programs of others on weir's hooks", style)
	t := table{indent: "  "}
	for _, n := range list {
		place := cell{text: "after weir"}
		if n.GetAhead() {
			place = cell{text: "AHEAD of weir: it may hide packets from it", color: red}
		}
		t.add(text(n.GetInterface()), text(n.GetHook()), text(n.GetProgram()), place)
	}
	t.write(b, style)
}

// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/bpf"
)

// Result is everything that one run changed, except flow entries.
type Result struct {
	Hook     Hook
	Context  Context
	Frame    []byte
	Returned uint32
	Counted  map[Counter]Amount
	Dropped  map[bpf.WeirDropKey]Amount
	Events   [2][]bpf.WeirEvent   // by enum ring
	Rings    [2]bpf.WeirRingStats // by enum ring
	Started  uint64               // ns of CLOCK_MONOTONIC
	Ended    uint64
}

// Passed is whether the packet goes on.
func (r Result) Passed() bool { return r.Returned == returnPass }

// Verdict is ALLOWED, AUDITED or DENIED.
func (r Result) Verdict() bpf.WeirVerdict {
	if !r.Passed() {
		return bpf.WeirVerdictVERDICT_DENIED
	}
	for key := range r.Dropped {
		if bpf.WeirVerdict(key.Verdict) == bpf.WeirVerdictVERDICT_AUDITED {
			return bpf.WeirVerdictVERDICT_AUDITED
		}
	}
	return bpf.WeirVerdictVERDICT_ALLOWED
}

// Reason is the one that the packet was counted under; REASON_UNKNOWN if it
// was not counted under exactly one.
func (r Result) Reason() bpf.WeirReason {
	if len(r.Counted) != 1 {
		return bpf.WeirReasonREASON_UNKNOWN
	}
	for cell := range r.Counted {
		return cell.Reason
	}
	return bpf.WeirReasonREASON_UNKNOWN
}

// Event is the run's only event.
func (r Result) Event() (bpf.WeirEvent, bool) {
	all := slices.Concat(r.Events[0], r.Events[1])
	if len(all) != 1 {
		return bpf.WeirEvent{}, false
	}
	return all[0], true
}

// String is what tests compare: "allowed rule new", "denied no-rule",
// "audited established", "denied revoked revoked". The last word is the kind
// of the event; a denial's event of kind "new" is not shown, as the rate limit
// may hold it back.
func (r Result) String() string {
	words := []string{bpf.VerdictName(r.Verdict()), bpf.ReasonName(r.Reason())}
	for _, e := range slices.Concat(r.Events[0], r.Events[1]) {
		kind := bpf.WeirEventKind(e.Kind)
		if r.Passed() || kind != bpf.WeirEventKindEVENT_NEW {
			words = append(words, bpf.EventKindName(kind))
		}
	}
	return strings.Join(words, " ")
}

// Check tells what of a run contradicts itself or the contract: a packet that
// is not counted exactly once, a denial without its drop, an event that does
// not say what the packet says.
func (r Result) Check() error {
	errs := []error{r.checkReturn(), r.checkCounted(), r.checkDropped()}
	for ring, events := range r.Events {
		if got := r.Rings[ring].Emitted; got != uint64(len(events)) {
			errs = append(errs, fmt.Errorf("ring %d: %d events read, %d counted as emitted", ring, len(events), got))
		}
		for _, e := range events {
			errs = append(errs, r.checkEvent(bpf.WeirRing(ring), e))
		}
	}
	if n := len(r.Events[0]) + len(r.Events[1]); n > 1 {
		errs = append(errs, fmt.Errorf("%d events for one packet", n))
	}
	return errors.Join(errs...)
}

func (r Result) checkReturn() error {
	if r.Returned != returnPass && r.Returned != returnDrop {
		return fmt.Errorf("%s returned %d: neither pass (-1) nor drop (2)", r.Hook, int32(r.Returned))
	}
	return nil
}

func (r Result) checkCounted() error {
	if len(r.Counted) != 1 {
		return fmt.Errorf("counted under %d reasons: %v", len(r.Counted), r.Counted)
	}
	for cell, amount := range r.Counted {
		if cell.Direction != r.Hook.Direction() {
			return fmt.Errorf("%s counted as direction %d", r.Hook, cell.Direction)
		}
		if want := r.amount(); amount != want {
			return fmt.Errorf("counted %+v, not %+v", amount, want)
		}
		if refusal := cell.Reason >= bpf.WeirReasonREASON_NO_RULE; !r.Passed() != refusal && r.Verdict() != bpf.WeirVerdictVERDICT_AUDITED {
			return fmt.Errorf("%s for the reason %s", bpf.VerdictName(r.Verdict()), bpf.ReasonName(cell.Reason))
		}
	}
	return nil
}

func (r Result) checkDropped() error {
	if len(r.Dropped) > 1 {
		return fmt.Errorf("dropped under %d keys: %v", len(r.Dropped), r.Dropped)
	}
	if !r.Passed() && len(r.Dropped) == 0 {
		return errors.New("denied, and not counted in drops")
	}
	for key, amount := range r.Dropped {
		if want := r.amount(); amount != want {
			return fmt.Errorf("drops grew by %+v, not %+v", amount, want)
		}
		if key.Ifindex != r.Context.Ifindex || bpf.WeirDirection(key.Direction) != r.Hook.Direction() || key.Pad != 0 {
			return fmt.Errorf("drops of %+v for a packet of ifindex %d at %s", key, r.Context.Ifindex, r.Hook)
		}
		if denied := bpf.WeirVerdict(key.Verdict) == bpf.WeirVerdictVERDICT_DENIED; denied == r.Passed() {
			return fmt.Errorf("drops of %s for a packet that was %s", bpf.VerdictName(bpf.WeirVerdict(key.Verdict)), bpf.VerdictName(r.Verdict()))
		}
		if reason := bpf.WeirReason(key.Reason); !r.Passed() && reason != r.Reason() {
			return fmt.Errorf("drops for %s, counted for %s", bpf.ReasonName(reason), bpf.ReasonName(r.Reason()))
		}
	}
	return nil
}

func (r Result) checkEvent(ring bpf.WeirRing, e bpf.WeirEvent) error {
	var errs []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("event: "+format, args...))
		}
	}
	verdict := bpf.WeirVerdict(e.Verdict)
	say(ring == bpf.WeirRingRING_ALLOWED != (verdict == bpf.WeirVerdictVERDICT_ALLOWED), "%s in ring %d", bpf.VerdictName(verdict), ring)
	say(verdict != r.Verdict(), "says %s, the packet was %s", bpf.VerdictName(verdict), bpf.VerdictName(r.Verdict()))
	say(e.Time < r.Started || e.Time > r.Ended, "time %d is not within the run, %d to %d", e.Time, r.Started, r.Ended)
	say(e.Ifindex != r.Context.Ifindex, "ifindex %d, not %d", e.Ifindex, r.Context.Ifindex)
	say(uint64(e.Length) != uint64(len(r.Frame)-r.networkOffset()), "length %d of a frame of %d", e.Length, len(r.Frame))
	say(e.Sample == 0 || verdict != bpf.WeirVerdictVERDICT_ALLOWED && e.Sample != 1, "stands for %d", e.Sample)
	say(e.Pad != 0, "padding is not zero")
	say(verdict != bpf.WeirVerdictVERDICT_ALLOWED && bpf.WeirReason(e.Reason) < bpf.WeirReasonREASON_NO_RULE, "%s for %s", bpf.VerdictName(verdict), bpf.ReasonName(bpf.WeirReason(e.Reason)))
	say(e.Kind < 1 || e.Kind > 3, "kind %d", e.Kind)
	return errors.Join(errs...)
}

// amount is what one run must add to a counter.
func (r Result) amount() Amount {
	return Amount{Packets: max(1, uint64(r.Context.GSOSegs)), Bytes: uint64(len(r.Frame) - r.networkOffset())}
}

// networkOffset is where layer 3 begins: behind at most two VLAN tags, and at
// the end of a frame that ends within them.
func (r Result) networkOffset() int {
	offset := 14
	for range 2 {
		kind := binary.BigEndian.Uint16(r.Frame[offset-2:])
		if kind != 0x8100 && kind != 0x88a8 {
			break
		}
		if offset += 4; offset > len(r.Frame) {
			return len(r.Frame)
		}
	}
	return offset
}

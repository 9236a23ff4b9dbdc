// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/weirnet/weir/bpf"
)

// EventSize is the size of struct event in bytes. A record of a ring is one.
const EventSize = int(unsafe.Sizeof(bpf.WeirEvent{}))

// ErrEvent is wrapped by every error about a record that is not an event. Such
// a record comes from programs of another version, or from a bug.
var ErrEvent = errors.New("not a flow event")

// Decode reads one record of an event ring and checks it.
func Decode(record []byte) (bpf.WeirEvent, error) {
	var ev bpf.WeirEvent
	if len(record) != EventSize {
		return ev, fmt.Errorf("%w: %d bytes, not %d; do agent and programs differ in version?", ErrEvent, len(record), EventSize)
	}
	// A copy, not a cast: a record need not be aligned. The generated type has
	// the layout of C, so no field needs to be named here and none can be
	// forgotten.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&ev)), EventSize), record)
	if err := Check(&ev); err != nil {
		return bpf.WeirEvent{}, err
	}
	return ev, nil
}

// Check reports values that no enum of the data path has. Nothing after it
// has to treat an unknown verdict: it never arrives.
func Check(ev *bpf.WeirEvent) error {
	bad := func(field string, value uint8) error {
		return fmt.Errorf("%w: %s %d is unknown", ErrEvent, field, value)
	}
	switch bpf.WeirEventKind(ev.Kind) {
	case bpf.WeirEventKindEVENT_NEW, bpf.WeirEventKindEVENT_REVOKED, bpf.WeirEventKindEVENT_FREED:
	default:
		return bad("kind", ev.Kind)
	}
	if bpf.WeirDirection(ev.Direction) > bpf.WeirDirectionDIR_EGRESS {
		return bad("direction", ev.Direction)
	}
	if bpf.WeirVerdict(ev.Verdict) > bpf.WeirVerdictVERDICT_AUDITED {
		return bad("verdict", ev.Verdict)
	}
	if bpf.WeirReason(ev.Reason) >= bpf.WeirReasonREASON_COUNT {
		return bad("reason", ev.Reason)
	}
	if bpf.WeirSide(ev.Initiator) > bpf.WeirSideSIDE_REMOTE {
		return bad("initiator", ev.Initiator)
	}
	return nil
}

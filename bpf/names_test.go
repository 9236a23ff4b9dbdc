// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Names are compared with the enums in the object itself, so a value that is
// added in C and forgotten in Go fails here.
func TestEveryValueHasItsName(t *testing.T) {
	for _, row := range []struct {
		enum, prefix string
		name         func(uint32) string
	}{
		{"direction", "DIR_", func(v uint32) string { return DirectionName(WeirDirection(v)) }},
		{"side", "SIDE_", func(v uint32) string { return SideName(WeirSide(v)) }},
		{"verdict", "VERDICT_", func(v uint32) string { return VerdictName(WeirVerdict(v)) }},
		{"reason", "REASON_", func(v uint32) string { return ReasonName(WeirReason(v)) }},
		{"mode", "MODE_", func(v uint32) string { return ModeName(WeirMode(v)) }},
		{"endpoint_flag", "EP_", func(v uint32) string { return EndpointFlagName(WeirEndpointFlag(v)) }},
		{"peer_flag", "PEER_", func(v uint32) string { return PeerFlagName(WeirPeerFlag(v)) }},
		{"flow_flag", "FLOW_", func(v uint32) string { return FlowFlagName(WeirFlowFlag(v)) }},
		{"event_kind", "EVENT_", func(v uint32) string { return EventKindName(WeirEventKind(v)) }},
		{"ring", "RING_", func(v uint32) string { return RingName(WeirRing(v)) }},
		{"action", "ACTION_", func(v uint32) string { return ActionName(WeirAction(v)) }},
	} {
		for _, value := range enumOf(t, row.enum).Values {
			suffix, ok := strings.CutPrefix(value.Name, row.prefix)
			if !ok {
				t.Errorf("enum %s: %s does not begin with %s", row.enum, value.Name, row.prefix)
			}
			want := strings.ReplaceAll(strings.ToLower(suffix), "_", "-")
			if suffix == "COUNT" {
				want = unnamed(strings.ReplaceAll(row.enum, "_", "-"), uint32(value.Value))
			}
			if got := row.name(uint32(value.Value)); got != want {
				t.Errorf("%s: named %q, want %q", value.Name, got, want)
			}
		}
	}
}

func TestUnnamedValue(t *testing.T) {
	if got := ReasonName(31); got != "reason-31" {
		t.Errorf("ReasonName(31) = %q, want reason-31", got)
	}
}

func enumOf(t *testing.T, name string) *btf.Enum {
	t.Helper()
	spec, err := LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName(name, &enum); err != nil {
		t.Fatalf("enum %s in the object's BTF: %v", name, err)
	}
	if len(enum.Values) == 0 {
		t.Fatalf("enum %s has no values", name)
	}
	return enum
}

// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Kind of calls.
type Kind string

// Kinds of calls. A stream is one connection for the whole time: the end of it
// is the end of its attempts. The others are a new flow each time.
const (
	Connect  Kind = "connect"
	Datagram Kind = "datagram"
	Stream   Kind = "stream"
)

// Target of calls, written KIND=ADDRESS:PORT.
type Target struct {
	Kind    Kind
	Address netip.AddrPort
}

func (t Target) String() string { return string(t.Kind) + "=" + t.Address.String() }

// ParseTarget reads what String writes.
func ParseTarget(text string) (Target, error) {
	kind, address, _ := strings.Cut(text, "=")
	to, err := netip.ParseAddrPort(address)
	if err != nil || !slices.Contains([]Kind{Connect, Datagram, Stream}, Kind(kind)) {
		return Target{}, fmt.Errorf("target %q: want connect, datagram or stream, =, and ADDRESS:PORT", text)
	}
	return Target{Kind(kind), to}, nil
}

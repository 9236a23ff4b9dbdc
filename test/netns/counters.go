// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// TCPSegmentsSent is how many the namespace has sent, those sent again too.
func (n *Namespace) TCPSegmentsSent() (uint64, error) {
	var text []byte
	err := n.Do(func() (err error) { text, err = os.ReadFile("/proc/thread-self/net/snmp"); return err })
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Tcp:":
		case names == nil:
			names = fields
		default:
			var total uint64
			for _, name := range []string{"OutSegs", "RetransSegs"} {
				at := slices.Index(names, name)
				if at < 0 || at >= len(fields) {
					return 0, fmt.Errorf("/proc/net/snmp of %s: no %s", n.Name, name)
				}
				value, err := strconv.ParseUint(fields[at], 10, 64)
				if err != nil {
					return 0, fmt.Errorf("/proc/net/snmp of %s: %s: %w", n.Name, name, err)
				}
				total += value
			}
			return total, nil
		}
	}
	return 0, fmt.Errorf("/proc/net/snmp of %s: no Tcp line", n.Name)
}

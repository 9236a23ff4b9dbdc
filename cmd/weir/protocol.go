// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parseProtocol reads a name or an IANA number.
func parseProtocol(text string) (uint32, error) {
	switch strings.ToLower(text) {
	case "icmp":
		return 1, nil
	case "tcp":
		return 6, nil
	case "udp":
		return 17, nil
	case "icmpv6", "icmp6":
		return 58, nil
	case "sctp":
		return 132, nil
	}
	number, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q is not known; use tcp, udp, sctp, icmp, icmpv6 or a number up to 255", text)
	}
	return uint32(number), nil
}

func protocolHasPorts(protocol uint32) bool {
	return protocol == 6 || protocol == 17 || protocol == 132
}

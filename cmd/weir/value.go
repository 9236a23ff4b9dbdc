// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	pb "github.com/weirnet/weir/api/v1"
)

func parseNamespace(text string) (string, error) {
	if text == "" || strings.ContainsAny(text, "/ ") {
		return "", fmt.Errorf("%q is not the name of a namespace", text)
	}
	return text, nil
}

func parseName(text string) (string, error) {
	if text == "" {
		return "", fmt.Errorf("%q is not a name", text)
	}
	return text, nil
}

func parseSelector(text string) (string, error) {
	selector, err := labels.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is not a selector, such as app=web or tier in (a, b): %w", text, err)
	}
	if selector.Empty() {
		return "", fmt.Errorf("%q selects every pod; leave it out", text)
	}
	return text, nil
}

func parseBlock(text string) (string, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked().String(), nil
	}
	return "", fmt.Errorf("%q is not an address or CIDR, such as 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32", text)
}

func parsePort(text string) (uint32, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port, 1 to 65535", text)
	}
	return uint32(port), nil
}

// enumNames are the values of an enum as flags take them, by number:
// REASON_NO_RULE is "no-rule". The zero, which filters refuse, is left out.
func enumNames(prefix string, names map[int32]string) []string {
	var numbers []int32
	for number := range names {
		if number != 0 {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	list := make([]string, len(numbers))
	for i, number := range numbers {
		list[i] = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(names[number], prefix)), "_", "-")
	}
	return list
}

// parseEnum reads a name that enumNames has written, in any case.
func parseEnum[E ~int32](what, prefix string, names map[int32]string, text string) (E, error) {
	for number, name := range names {
		if number != 0 && name == prefix+strings.ReplaceAll(strings.ToUpper(text), "-", "_") {
			return E(number), nil
		}
	}
	return 0, fmt.Errorf("%q is not %s; use %s", text, what, alternatives(enumNames(prefix, names)))
}

// alternatives are words as a sentence says them: "a, b or c".
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func parseVerdict(text string) (pb.Verdict, error) {
	return parseEnum[pb.Verdict]("a verdict", "VERDICT_", pb.Verdict_name, text)
}

func parseReason(text string) (pb.Reason, error) {
	return parseEnum[pb.Reason]("a reason", "REASON_", pb.Reason_name, text)
}

func parseDirection(text string) (pb.Direction, error) {
	return parseEnum[pb.Direction]("a direction", "DIRECTION_", pb.Direction_name, text)
}

func parseIdentity(text string) (pb.Identity, error) {
	return parseEnum[pb.Identity]("an identity", "IDENTITY_", pb.Identity_name, text)
}

func parseKind(text string) (pb.FlowKind, error) {
	return parseEnum[pb.FlowKind]("a kind of record", "FLOW_KIND_", pb.FlowKind_name, text)
}

func parseEnd(text string) (pb.EndReason, error) {
	return parseEnum[pb.EndReason]("a reason to end", "END_REASON_", pb.EndReason_name, text)
}

func parseBool(text string) (bool, error) {
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", text)
	}
	return value, nil
}

// parseID reads an id as protobuf's JSON writes it, or as hexadecimal 0x....
func parseID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 0, 64)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%q is not the id of a flow, a number above 0; denials have none", text)
	}
	return id, nil
}

func tcpFlagNames() []string {
	return []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}
}

// parseTCPFlags reads "syn+!ack".
func parseTCPFlags(text string) (*pb.TcpFlagFilter, error) {
	f := &pb.TcpFlagFilter{}
	for _, word := range strings.Split(text, "+") {
		name, unset := strings.CutPrefix(word, "!")
		bit := slices.Index(tcpFlagNames(), strings.ToLower(name))
		if bit < 0 {
			return nil, fmt.Errorf("%q: %q is not a TCP flag; use %s, joined by +, with ! where it must not be set", text, name, alternatives(tcpFlagNames()))
		}
		if unset {
			f.Unset |= 1 << bit
		} else {
			f.Set |= 1 << bit
		}
	}
	if f.Set&f.Unset != 0 {
		return nil, fmt.Errorf("%q wants a flag both set and not set", text)
	}
	return f, nil
}

// rule reads NAME[:DIRECTION[:INDEX]]; names hold no colon.
func (r *reading) rule(text string) ([]*pb.RuleFilter, error) {
	parts := strings.Split(text, ":")
	names, err := r.qualified(anyEnd)(parts[0])
	if err != nil || len(parts) > 3 {
		return nil, fmt.Errorf("%q is not a rule, such as shop/allow-app:ingress:0", text)
	}
	var direction pb.Direction
	var index *uint32
	if len(parts) > 1 {
		if direction, err = parseDirection(parts[1]); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	if len(parts) > 2 {
		n, err := strconv.ParseUint(parts[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is not the index of a rule; the first one is 0", text, parts[2])
		}
		index = new(uint32(n))
	}
	list := make([]*pb.RuleFilter, len(names))
	for i, name := range names {
		list[i] = &pb.RuleFilter{Policy: name, Direction: direction, Index: index}
	}
	return list, nil
}

// parseMoment reads a duration before now, or a time.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		if ago <= 0 {
			return time.Time{}, fmt.Errorf("%s is not above 0; it counts back from now", text)
		}
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration, such as 10m or 2h30m, nor a time, such as %s", text, now.UTC().Format(time.RFC3339))
	}
	return at, nil
}

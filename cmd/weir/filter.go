// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

const defaultLast = 20

// observeFlags are the flags of observe as they were typed.
type observeFlags struct {
	follow    bool
	last      uint32
	lastGiven bool
	since     string
	output    string

	pods, namespaces, ips, ports, protocols, verdicts, policies []string
}

func (f *observeFlags) register(flags *pflag.FlagSet) {
	flags.BoolVarP(&f.follow, "follow", "f", false, "show flows as they come, until interrupted")
	flags.Uint32Var(&f.last, "last", defaultLast,
		"show at most `N` kept flows, the newest; 0 is all; if not given, -f shows none and --since all")
	flags.StringVar(&f.since, "since", "", "show kept flows not older than this: 10m, 2h30m, or 2006-01-02T15:04:05Z")
	flags.StringVarP(&f.output, "output", "o", "compact", "compact; wide: adds interface, TCP flags, length, reason code; or json")
	flags.StringSliceVar(&f.pods, "pod", nil, "NAME or NAMESPACE/NAME of a pod at either end")
	flags.StringSliceVarP(&f.namespaces, "namespace", "n", nil, "namespace of a pod at either end")
	flags.StringSliceVar(&f.ips, "ip", nil, "address or CIDR of either end")
	flags.StringSliceVar(&f.ports, "port", nil, "port of either end, 1 to 65535")
	flags.StringSliceVar(&f.protocols, "protocol", nil, "tcp, udp, sctp, icmp, icmpv6 or a number")
	flags.StringSliceVar(&f.verdicts, "verdict", nil, "allowed, denied or audited")
	flags.StringSliceVar(&f.policies, "policy", nil, "NAME or NAMESPACE/NAME of a policy that decided or isolates")
}

// request is what the agent is asked; now is what --since counts from. Its
// error names every flag that cannot be read.
func (f *observeFlags) request(now time.Time) (*pb.WatchRequest, error) {
	var errs []error
	r := &pb.WatchRequest{Follow: f.follow, Filter: &pb.FlowFilter{Namespaces: f.namespaces}}
	filter := r.Filter
	for _, namespace := range f.namespaces {
		if namespace == "" || strings.Contains(namespace, "/") {
			errs = append(errs, fmt.Errorf("--namespace: %q is not the name of a namespace", namespace))
		}
	}
	filter.Pods = collect(&errs, "pod", f.pods, f.qualified)
	filter.Policies = collect(&errs, "policy", f.policies, f.qualified)
	filter.Ips = collect(&errs, "ip", f.ips, one(parseBlock))
	filter.Ports = collect(&errs, "port", f.ports, one(parsePort))
	filter.Protocols = collect(&errs, "protocol", f.protocols, one(parseProtocol))
	filter.Verdicts = collect(&errs, "verdict", f.verdicts, one(parseVerdict))
	r.Last = f.kept()
	if f.since != "" {
		since, err := parseSince(f.since, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("--since: %w", err))
		} else {
			r.Since = timestamppb.New(since)
		}
	}
	return r, errors.Join(errs...)
}

// kept is WatchRequest.last. Its 0 means all without follow, and none with
// follow alone; -f --last 0 asks for all.
func (f *observeFlags) kept() uint32 {
	switch {
	case f.lastGiven && f.last == 0 && f.follow:
		return math.MaxUint32
	case f.lastGiven:
		return f.last
	case f.follow, f.since != "":
		return 0
	}
	return defaultLast
}

// collect reads the values of one flag; a value may stand for several.
func collect[T any](errs *[]error, flag string, texts []string, read func(string) ([]T, error)) []T {
	var values []T
	for _, text := range texts {
		value, err := read(text)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("--%s: %w", flag, err))
			continue
		}
		values = append(values, value...)
	}
	return values
}

func one[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		value, err := parse(text)
		return []T{value}, err
	}
}

// qualified puts a bare name into each namespace of -n: "-n shop --pod web"
// means shop/web, and not every flow between shop and some web elsewhere.
func (f *observeFlags) qualified(name string) ([]string, error) {
	namespace, rest, found := strings.Cut(name, "/")
	switch {
	case !found && name != "" && len(f.namespaces) == 0:
		return []string{name}, nil
	case !found && name != "":
		names := make([]string, len(f.namespaces))
		for i, namespace := range f.namespaces {
			names[i] = namespace + "/" + name
		}
		return names, nil
	case namespace == "" || rest == "" || strings.Contains(rest, "/"):
		return nil, fmt.Errorf("%q is neither NAME nor NAMESPACE/NAME", name)
	}
	return []string{name}, nil
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

func parseVerdict(text string) (pb.Verdict, error) {
	number, known := pb.Verdict_value["VERDICT_"+strings.ToUpper(text)]
	if !known || number == 0 {
		return 0, fmt.Errorf("%q is not a verdict; use allowed, denied or audited", text)
	}
	return pb.Verdict(number), nil
}

// parseSince reads a duration before now, or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
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
	if at.After(now) {
		return time.Time{}, fmt.Errorf("%s is in the future", text)
	}
	return at, nil
}

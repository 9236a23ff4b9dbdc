// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	corev1 "k8s.io/api/core/v1"

	"github.com/weirnet/weir/bpf"
)

// Agreement is how a table of peers compares with the pods.
type Agreement struct {
	Pods    int `json:"pods"`
	Classed int `json:"classed"` // addresses that must have a class
	Plain   int `json:"plain"`   // addresses that must have none
	Classes int `json:"classes"` // classes that were found
}

// maxFaults bounds what an error tells.
const maxFaults = 5

// Agree compares the table of peers with the pods. key says what a pod's class
// must depend on, empty for class 0: pods of one key have one class, and those
// of two have two. Addresses in ranges are those of pods alone.
func Agree(peers *ebpf.Map, pods []corev1.Pod, ranges []netip.Prefix, key func(*corev1.Pod) string) (Agreement, error) {
	table := map[netip.Addr]uint32{}
	var at bpf.WeirAddress
	var peer bpf.WeirPeer
	entries := peers.Iterate()
	for entries.Next(&at, &peer) {
		table[netip.AddrFrom16(at.Bytes).Unmap()] = peer.Class
	}
	if err := entries.Err(); err != nil {
		return Agreement{}, fmt.Errorf("read table of peers: %w", err)
	}
	return compare(table, pods, ranges, key)
}

func compare(table map[netip.Addr]uint32, pods []corev1.Pod, ranges []netip.Prefix, key func(*corev1.Pod) string) (Agreement, error) {
	a := Agreement{Pods: len(pods)}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	classes, keys, used := map[string]uint32{}, map[uint32]string{}, map[netip.Addr]bool{}
	for i := range pods {
		pod := &pods[i]
		for _, ip := range pod.Status.PodIPs {
			addr, err := netip.ParseAddr(ip.IP)
			if err != nil {
				return a, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
			}
			used[addr] = true
			want, class := key(pod), table[addr]
			switch {
			case want == "":
				a.Plain++
				if class != 0 {
					fault("%s of pod %s/%s has class %d, and no policy names it", addr, pod.Namespace, pod.Name, class)
				}
				continue
			case class == 0:
				fault("%s of pod %s/%s has no class, and policies name it (%s)", addr, pod.Namespace, pod.Name, want)
				continue
			}
			a.Classed++
			if other, ok := classes[want]; ok && other != class {
				fault("%s of pod %s/%s has class %d, others like it (%s) have %d", addr, pod.Namespace, pod.Name, class, want, other)
			}
			if other, ok := keys[class]; ok && other != want {
				fault("class %d holds pods of two kinds, %s and %s", class, other, want)
			}
			classes[want], keys[class] = class, want
		}
	}
	a.Classes = len(keys)
	for addr, class := range table {
		if class != 0 && !used[addr] && inside(addr, ranges) {
			fault("%s has class %d, and no pod has it", addr, class)
		}
	}
	if n := len(faults); n > maxFaults {
		faults = append(faults[:maxFaults], fmt.Errorf("and %d more", n-maxFaults))
	}
	return a, errors.Join(faults...)
}

func inside(addr netip.Addr, ranges []netip.Prefix) bool {
	for _, p := range ranges {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

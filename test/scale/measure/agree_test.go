// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(name, kind string, addrs ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"kind": kind}}}
	for _, a := range addrs {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	return p
}

func TestCompare(t *testing.T) {
	a1, a2, b, plain := netip.MustParseAddr("10.16.0.1"), netip.MustParseAddr("fd00:16::1"), netip.MustParseAddr("10.16.0.2"), netip.MustParseAddr("10.16.0.3")
	pods := []corev1.Pod{pod("a", "x", a1.String(), a2.String()), pod("b", "y", b.String()), pod("c", "", plain.String()), pod("d", "x")}
	ranges := []netip.Prefix{netip.MustParsePrefix("10.16.0.0/14")}
	type table = map[netip.Addr]uint32
	for _, row := range []struct {
		name  string
		table table
		want  string // part of the error; empty: none
	}{
		{"agrees", table{a1: 1, a2: 1, b: 2}, ""},
		{"class 0 is as none", table{a1: 1, a2: 1, b: 2, plain: 0}, ""},
		{"another's address outside the ranges", table{a1: 1, a2: 1, b: 2, netip.MustParseAddr("10.96.0.1"): 7}, ""},
		{"lacks one", table{a1: 1, a2: 1}, "10.16.0.2 of pod ns/b has no class"},
		{"lacks one of two addresses", table{a1: 1, b: 2}, "fd00:16::1 of pod ns/a has no class"},
		{"too many", table{a1: 1, a2: 1, b: 2, plain: 1}, "10.16.0.3 of pod ns/c has class 1"},
		{"left over", table{a1: 1, a2: 1, b: 2, netip.MustParseAddr("10.16.9.9"): 1}, "10.16.9.9 has class 1, and no pod has it"},
		{"two classes for one kind", table{a1: 1, a2: 3, b: 2}, "has class 3, others like it (x) have 1"},
		{"one class for two kinds", table{a1: 1, a2: 1, b: 1}, "class 1 holds pods of two kinds"},
	} {
		a, err := compare(row.table, pods, ranges, func(p *corev1.Pod) string { return p.Labels["kind"] })
		if row.want == "" && (err != nil || a.Classed != 3 || a.Plain != 1 || a.Classes != 2) {
			t.Errorf("%s: %+v, %v", row.name, a, err)
		}
		if row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// byValue compares addresses and prefixes, whose fields are hidden, by ==.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func mustPrefix(t testing.TB, text string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPrefixes(t testing.TB, texts ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, mustPrefix(t, text))
	}
	return out
}

func mustAddrs(t testing.TB, texts ...string) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

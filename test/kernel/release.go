// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"strings"
)

// Release is a kernel to test on, and the Debian suite that has it.
type Release struct {
	Name  string
	Suite string
}

// Releases are the long-term kernels from the oldest that weir supports, and
// the newest that Debian has.
func Releases() []Release {
	return []Release{
		{"5.10", "bullseye"},
		{"6.1", "bookworm"},
		{"6.12", "trixie"},
		{"newest", "sid"},
	}
}

// Choose finds releases by their names, separated by spaces or commas.
func Choose(names string) ([]Release, error) {
	var chosen []Release
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ' ' || r == ',' }) {
		found := false
		for _, r := range Releases() {
			if r.Name == name {
				chosen, found = append(chosen, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("kernel %q is not known: choose among %s", name, known())
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no kernel is named: choose among %s", known())
	}
	return chosen, nil
}

func known() string {
	var names []string
	for _, r := range Releases() {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

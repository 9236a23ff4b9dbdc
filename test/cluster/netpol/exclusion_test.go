// SPDX-License-Identifier: Apache-2.0

package netpol

import (
	"strings"
	"testing"
)

func TestParseExclusions(t *testing.T) {
	rows := []struct {
		file, want string // part of the error; empty: none
		count      int
	}{
		{"", "", 0},
		{"# comment\n\nSCTP\tno sockets\nIPv6\tno routes\n", "", 2},
		{"SCTP\n", "line 1: no reason", 0},
		{"# x\nSCTP\t \n", "line 2: no reason", 0},
		{"(\tbroken\n", "line 1: error parsing", 0},
		{"\tall of it\n", "matches every spec", 0},
		{".*\tall of it\n", "matches every spec", 0},
	}
	for _, r := range rows {
		list, err := parseExclusions(r.file)
		if r.want == "" && err != nil || r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)) || len(list) != r.count {
			t.Errorf("%q: %v, %v; want %d and error %q", r.file, list, err, r.count, r.want)
		}
	}
	if _, err := Exclusions(); err != nil {
		t.Error(err)
	}
}

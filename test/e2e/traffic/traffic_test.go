// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"testing"
	"time"
)

func TestParseTarget(t *testing.T) {
	rows := []struct {
		text string
		ok   bool
	}{
		{"connect=10.0.0.1:80", true},
		{"stream=[fd00::1]:80", true},
		{"datagram=10.0.0.1:80", true},
		{"", false},
		{"connect", false},
		{"connect=10.0.0.1", false},
		{"connect=name:80", false},
		{"ping=10.0.0.1:80", false},
	}
	for _, r := range rows {
		target, err := ParseTarget(r.text)
		if (err == nil) != r.ok || r.ok && target.String() != r.text {
			t.Errorf("%q: %v, %v; want ok %t", r.text, target, err, r.ok)
		}
	}
}

// No answer and the end of the memory for failures: the number of them stays
// right, and the last ones are kept.
func TestCounter(t *testing.T) {
	var c counter
	for i := range 5 {
		c.attempt()
		c.end(time.Unix(int64(i), 0), errors.New("no"))
	}
	c.attempt()
	c.end(time.Now(), nil)
	c.attempt() // on its way
	got := c.read()
	if got.Attempts != 7 || got.Failed != 5 || got.Answered != 1 || len(got.Failures) != failuresKept || got.Failures[failuresKept-1] != "00:00:04.000: no" {
		t.Errorf("counted %+v", got)
	}
}

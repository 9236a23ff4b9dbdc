// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	for _, o := range []Outcome{
		{Name: "test/packet", Passed: true, Took: 1234 * time.Millisecond},
		{Name: "bpf", Took: time.Minute, Detail: "exit status 1"},
		{Name: "bpf", Took: 0, Detail: "deadline; killed"},
	} {
		if got, ok := ParseEnded(Ended(o)); !ok || got != o {
			t.Errorf("%+v came back as %+v, %v", o, got, ok)
		}
	}
	if got, ok := ParseEnded(Ended(Outcome{Name: "a", Detail: "two\nlines"})); !ok || got.Detail != "two; lines" {
		t.Errorf("%+v, %v: want one line", got, ok)
	}
	if name, ok := ParseBegan(Began("bpf")); !ok || name != "bpf" {
		t.Errorf("%q, %v", name, ok)
	}
	if n, ok := ParseDone(Done(7)); !ok || n != 7 {
		t.Errorf("%d, %v", n, ok)
	}
}

// Output of a test must not be taken for a verdict.
func TestLinesOfOthers(t *testing.T) {
	for _, line := range []string{"", "ended a passed 1s ", Mark + "ended a", Mark + "ended a maybe 1s", Mark + "ended a passed soon", Mark + "done", Mark + "done x", " " + Done(1), "began a"} {
		if o, ok := ParseEnded(line); ok {
			t.Errorf("%q is an end: %+v", line, o)
		}
		if n, ok := ParseDone(line); ok {
			t.Errorf("%q is the last line: %d", line, n)
		}
		if name, ok := ParseBegan(line); ok {
			t.Errorf("%q is a beginning: %q", line, name)
		}
	}
}

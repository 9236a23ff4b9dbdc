// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/kernel/plan"
)

// spoken makes a report out of lines.
func spoken(lines ...string) *Report {
	r := &Report{}
	for _, line := range lines {
		r.Add(line)
	}
	return r
}

var (
	beganA  = plan.Began("a")
	endedA  = plan.Ended(plan.Outcome{Name: "a", Passed: true, Took: 1500 * time.Millisecond})
	failedA = plan.Ended(plan.Outcome{Name: "a", Took: time.Second, Detail: "exit status 1"})
	pass    = "--- PASS: TestX (0.00s)"
)

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		name  string
		lines []string
		want  string // in the errors; "": none
	}{
		{"all passed", []string{beganA, pass, endedA, plan.Done(1)}, ""},
		{"nothing said", nil, "a was not run"},
		{"no last line", []string{beganA, pass, endedA}, "last line"},
		{"last line counts another number", []string{beganA, pass, endedA, plan.Done(2)}, "last line"},
		{"cut off", []string{beganA, pass}, "a did not end"},
		{"cut off, and a last line", []string{beganA, pass, plan.Done(1)}, "a did not end"},
		{"exit status", []string{beganA, pass, failedA, plan.Done(1)}, "exit status 1"},
		{"a failure that the exit status hides", []string{beganA, pass, "    --- FAIL: TestX/y (0.00s)", endedA, plan.Done(1)}, "TestX/y"},
		{"no test at all", []string{beganA, "PASS", endedA, plan.Done(1)}, "no test passed"},
		{"all skipped", []string{beganA, "--- SKIP: TestX (0.00s)", endedA, plan.Done(1)}, "no test passed"},
		{"another program", []string{plan.Began("b"), pass, strings.Replace(endedA, " a ", " b ", 1), plan.Done(1)}, "a was not run"},
		{"the end of another program", []string{beganA, pass, strings.Replace(endedA, " a ", " b ", 1), plan.Done(1)}, "a did not end"},
	} {
		err := errors.Join(spoken(row.lines...).Check([]string{"a"})...)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestReport(t *testing.T) {
	r := spoken(
		plan.Mark+"kernel 5.10.0-32", plan.Mark+"this kernel has no module netkit", beganA,
		"=== RUN   TestX", "    x_test.go:5: feature: ring buffer: yes", pass,
		"=== RUN   TestY", "=== RUN   TestY/tcx", "    x_test.go:9: needs 6.6", "=== RUN   TestY/other", "    x_test.go:9: made it",
		"--- PASS: TestY (0.00s)", "    --- PASS: TestY/other (0.00s)", "    --- SKIP: TestY/tcx (0.00s)", "    --- FAIL: TestZ/sub (1.00s)", "--- FAIL: TestZ (1.00s)", failedA, plan.Done(1))
	p := r.Programs[0]
	if r.Kernel != "5.10.0-32" || !slices.Equal(r.Notes, []string{"this kernel has no module netkit"}) || !slices.Equal(r.Features, []string{"ring buffer: yes"}) {
		t.Errorf("%+v", r)
	}
	if p.Passed != 3 || p.Failed != 2 || p.Skipped != 1 || !slices.Equal(p.Skips, []string{"TestY/tcx: needs 6.6"}) || !slices.Equal(p.Failures, []string{"TestZ/sub", "TestZ"}) {
		t.Errorf("%+v", p)
	}
	if p.Took != time.Second || p.Detail != "exit status 1" || p.Outcome.Passed {
		t.Errorf("%+v", p.Outcome)
	}
}

func TestComplaints(t *testing.T) {
	for line, want := range map[string]int{
		"[    1.0] BUG: kernel NULL pointer dereference, address: 0": 1, "[    2.0] WARNING: CPU: 0 PID: 7 at kernel/bpf/verifier.c:1": 1,
		"[    3.0] Kernel panic - not syncing: Attempted to kill init!": 1, "[    3.0] Oops: 0000 [#1] SMP": 1,
		"[    4.0] DEBUG: nothing": 0, "[    5.0] clocksource: tsc unstable": 0, "": 0,
	} {
		if got := Complaints("x\n" + line + "\ny\n"); len(got) != want {
			t.Errorf("%q: %q, want %d", line, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	reports := map[string]*Report{
		"old": spoken(plan.Mark+"kernel 5.10", beganA, "    x_test.go:1: feature: clock: no", pass, endedA),
		"new": spoken(plan.Mark+"kernel 7.2", beganA, "    x_test.go:1: feature: clock: yes", "    x_test.go:1: feature: loop: yes"),
	}
	names := []string{"old", "new", "never booted"}
	var out strings.Builder
	if err := errors.Join(WriteResults(&out, names, reports), WriteFeatures(&out, names[:2], reports)); err != nil {
		t.Fatal(err)
	}
	var words []string
	for line := range strings.Lines(out.String()) {
		words = append(words, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"KERNEL RELEASE PROGRAM RESULT PASSED FAILED SKIPPED TOOK", "old 5.10 a passed 1 0 0 2s", "new 7.2 a cut off 0 0 0 0s",
		"| feature | old | new |", "| --- | --- | --- |", "| clock | no | yes |", "| loop | | yes |",
	}
	if !slices.Equal(words, want) {
		t.Errorf("got %q\nwant %q", words, want)
	}
}

func TestLinesOfATerminal(t *testing.T) {
	var got []string
	if err := eachLine(strings.NewReader("one\r\n\r\ntwo\nthree"), func(line string) { got = append(got, line) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "", "two", "three"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChoose(t *testing.T) {
	for names, want := range map[string]int{"5.10": 1, "5.10,newest": 2, " 6.1 6.12 ": 2, "": 0, "4.19": 0, "5.10 4.19": 0} {
		chosen, err := Choose(names)
		if len(chosen) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v, want %d", names, chosen, err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	good := Options{Root: "/r", Work: "/w", Logs: "/l", Packages: []string{"a"}}
	good.Defaults()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Options){
		"relative root": func(o *Options) { o.Root = "r" }, "no package": func(o *Options) { o.Packages = nil },
		"negative limit": func(o *Options) { o.Limit = -1 }, "no memory": func(o *Options) { o.MemoryMB = 1 },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

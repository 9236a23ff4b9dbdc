// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/weirnet/weir/test/kernel/plan"
)

// Report is what a guest's lines say. Its zero value is a guest that said
// nothing, which is a failure.
type Report struct {
	Kernel   string // release, as the guest's uname gives it
	Programs []ProgramReport
	Features []string // lines of the probe
	Notes    []string // what the guest said besides
	whole    bool     // the last line came, and all programs before it
}

// ProgramReport counts the tests of one program. Subtests count by themselves.
type ProgramReport struct {
	plan.Outcome
	Ended                   bool
	Passed, Failed, Skipped int
	Failures                []string
	Skips                   []string          // name and reason
	test                    string            // whose lines are coming
	said                    map[string]string // the last line of each test: the reason, if it skips
}

var (
	nameLine   = regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	resultLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
	sourceLine = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)$`)
)

// FeatureMark begins the lines of the probe that Features collects.
const FeatureMark = "feature: "

// Add reads the next line.
func (r *Report) Add(line string) {
	if name, ok := plan.ParseBegan(line); ok {
		r.Programs = append(r.Programs, ProgramReport{Outcome: plan.Outcome{Name: name}, said: map[string]string{}})
		return
	}
	if outcome, ok := plan.ParseEnded(line); ok && len(r.Programs) > 0 {
		p := &r.Programs[len(r.Programs)-1]
		if p.Name == outcome.Name {
			p.Outcome, p.Ended = outcome, true
		}
		return
	}
	if programs, ok := plan.ParseDone(line); ok {
		r.whole = programs == len(r.Programs)
		return
	}
	if note, ok := strings.CutPrefix(line, plan.Mark); ok {
		if version, ok := strings.CutPrefix(note, "kernel "); ok && r.Kernel == "" {
			r.Kernel = version
			return
		}
		r.Notes = append(r.Notes, note)
		return
	}
	if len(r.Programs) > 0 {
		r.output(&r.Programs[len(r.Programs)-1], line)
	}
}

func (r *Report) output(p *ProgramReport, line string) {
	if name := nameLine.FindStringSubmatch(line); name != nil {
		p.test = name[1]
		return
	}
	message := sourceLine.FindStringSubmatch(line)
	if message != nil {
		if feature, ok := strings.CutPrefix(message[1], FeatureMark); ok {
			r.Features = append(r.Features, feature)
		}
		p.said[p.test] = message[1]
		return
	}
	result := resultLine.FindStringSubmatch(line)
	if result == nil {
		return
	}
	switch result[1] {
	case "PASS":
		p.Passed++
	case "FAIL":
		p.Failed++
		p.Failures = append(p.Failures, result[2])
	case "SKIP":
		p.Skipped++
		p.Skips = append(p.Skips, result[2]+": "+p.said[result[2]])
	}
}

// Check has an error for each way in which a guest did not do all of its plan
// with success. A program that ran no test proves nothing.
func (r *Report) Check(want []string) []error {
	var errs []error
	ran := map[string]bool{}
	for _, p := range r.Programs {
		ran[p.Name] = true
		switch {
		case !p.Ended:
			errs = append(errs, fmt.Errorf("%s did not end", p.Name))
		case !p.Outcome.Passed || p.Failed > 0:
			errs = append(errs, fmt.Errorf("%s failed: %s %s", p.Name, p.Detail, strings.Join(p.Failures, " ")))
		case p.Passed == 0:
			errs = append(errs, fmt.Errorf("%s: no test passed", p.Name))
		}
	}
	for _, name := range want {
		if !ran[name] {
			errs = append(errs, fmt.Errorf("%s was not run", name))
		}
	}
	if !r.whole {
		errs = append(errs, fmt.Errorf("the guest did not come to its last line"))
	}
	return errs
}

// complaint is what a kernel prints about a fault of its own.
var complaint = regexp.MustCompile(`\b(BUG|Oops|WARNING|Kernel panic|general protection fault|KASAN|UBSAN|verifier bug|possible .*deadlock)\b`)

// Complaints are the lines of a kernel's console that tell of a fault.
func Complaints(console string) []string {
	var found []string
	for line := range strings.Lines(console) {
		if complaint.MatchString(line) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// SPDX-License-Identifier: Apache-2.0

// Package plan is what the host and the guest of a kernel test say to each
// other: the plan on the way in, marked lines on the way out. It imports the
// standard library alone, since the guest's init is made of it.
package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Path is where the plan stands in the guest, as JSON.
const Path = "/plan.json"

// Plan is what the guest does before it powers off.
type Plan struct {
	Modules  []string // paths of kernel modules, in the order of loading
	Absent   []string // modules that this kernel does not have; told, no failure
	Programs []Program
}

// Program is a test binary of one package.
type Program struct {
	Name  string // the package's folder in the module
	Path  string
	Dir   string // working directory
	Args  []string
	Env   []string
	Limit time.Duration // the program is killed after it; 0 kills it at once
}

// Mark begins each line of the guest itself, between the output of programs.
const Mark = "weir-guest: "

// Outcome is what became of one program.
type Outcome struct {
	Name   string
	Passed bool
	Took   time.Duration
	Detail string // why it failed
}

// The lines of the guest, without Mark.
const (
	began = "began "
	ended = "ended "
	done  = "done "
)

// Began is the line before a program's output.
func Began(name string) string { return Mark + began + name }

// Ended is the line after it.
func Ended(o Outcome) string {
	word := "failed"
	if o.Passed {
		word = "passed"
	}
	return fmt.Sprintf("%s%s%s %s %s %s", Mark, ended, o.Name, word, o.Took.Round(time.Millisecond), strings.ReplaceAll(o.Detail, "\n", "; "))
}

// Done is the last line, with the number of programs that were run.
func Done(programs int) string { return Mark + done + strconv.Itoa(programs) }

// ParseBegan gives the name in a line that Began made.
func ParseBegan(line string) (string, bool) { return strings.CutPrefix(line, Mark+began) }

// ParseEnded reads a line that Ended made.
func ParseEnded(line string) (Outcome, bool) {
	rest, ok := strings.CutPrefix(line, Mark+ended)
	if !ok {
		return Outcome{}, false
	}
	fields := strings.SplitN(rest, " ", 4)
	if len(fields) < 3 || fields[1] != "passed" && fields[1] != "failed" {
		return Outcome{}, false
	}
	took, err := time.ParseDuration(fields[2])
	if err != nil {
		return Outcome{}, false
	}
	o := Outcome{Name: fields[0], Passed: fields[1] == "passed", Took: took}
	if len(fields) == 4 {
		o.Detail = fields[3]
	}
	return o, true
}

// ParseDone reads a line that Done made.
func ParseDone(line string) (programs int, ok bool) {
	rest, ok := strings.CutPrefix(line, Mark+done)
	if !ok {
		return 0, false
	}
	programs, err := strconv.Atoi(rest)
	return programs, err == nil
}

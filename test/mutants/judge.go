// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Fate is what became of a mutant.
type Fate string

const (
	Killed   Fate = "killed"
	Survived Fate = "survived"
	// Unusable: it does not compile, or the verifier refuses it, so the tests
	// had nothing to notice.
	Unusable Fate = "unusable"
)

// Result of one mutant.
type Result struct {
	Mutant  string  `json:"mutant"`
	Line    int     `json:"line"`
	File    string  `json:"file"`
	Fate    Fate    `json:"fate"`
	By      string  `json:"by,omitempty"`     // the test that failed first
	Detail  string  `json:"detail,omitempty"` // why it is unusable, or who let it live
	Seconds float64 `json:"seconds"`
}

// testTimeout is for one suite with one mutant. The longest takes a minute; a
// mutant that hangs is noticed by it.
const testTimeout = 5 * time.Minute

// judge makes m and asks its suite. The error says that nothing can be told.
func (b *bench) judge(ctx context.Context, m *Mutant) (Result, error) {
	start := time.Now()
	r := Result{Mutant: m.Name, Line: m.Line, File: m.File}
	dir, err := os.MkdirTemp("", "weir-mutant-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	overlay, err := b.overlay(ctx, dir, m)
	if err != nil {
		r.Fate, r.Detail = Unusable, err.Error()
	} else {
		out, failed, err := b.test(ctx, overlay, m.Tests)
		if err != nil {
			return r, err
		}
		r.Fate, r.By, r.Detail = fateOf(out, failed, m.Tests)
	}
	r.Seconds = time.Since(start).Seconds()
	return r, ctx.Err()
}

// test runs a suite, and returns what it says and whether it failed.
func (b *bench) test(ctx context.Context, overlay string, s Suite) (string, bool, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-vet=off", "-timeout", testTimeout.String(),
		"-ldflags", "-s -w", "-run", s.Run, s.Package)
	cmd.Dir = b.root
	// A skipped test would let every mutant live. The overlay is no argument:
	// commands that a test builds have the fault, too.
	cmd.Env = append(os.Environ(), "WEIR_KERNEL_TESTS=1", strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay))
	// The go command starts the test; both end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err == nil {
		if strings.Contains(string(out), "[no tests to run]") {
			return "", false, fmt.Errorf("%s: no test matches %s", s.Package, s.Run)
		}
		return string(out), false, nil
	}
	if _, exited := errors.AsType[*exec.ExitError](err); !exited || ctx.Err() != nil {
		return "", false, fmt.Errorf("go test %s: %w", s.Package, errors.Join(err, ctx.Err()))
	}
	return string(out), true, nil
}

var (
	failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	// What the go command and the loader say where no test could begin.
	notBuilt  = regexp.MustCompile(`\[(build|setup) failed\]`)
	notLoaded = regexp.MustCompile(`load program: `)
)

// fateOf reads the output of a suite.
func fateOf(out string, failed bool, s Suite) (fate Fate, by, detail string) {
	switch {
	case !failed:
		return Survived, "", fmt.Sprintf("%s -run '%s' passes", s.Package, s.Run)
	case notBuilt.MatchString(out):
		return Unusable, "", "does not compile:\n" + clip(out)
	case notLoaded.MatchString(out):
		return Unusable, "", "does not load:\n" + clip(out)
	}
	if by := firstFailure(out); by != "" {
		return Killed, by, ""
	}
	if strings.Contains(out, "panic: ") {
		return Killed, "a panic", ""
	}
	return Killed, "the end of the run, of what it leaves behind", ""
}

// firstFailure returns the innermost test of the first chain of failures: the
// outer ones are told before it.
func firstFailure(out string) string {
	name := ""
	for _, match := range failure.FindAllStringSubmatch(out, -1) {
		if name != "" && !strings.HasPrefix(match[1], name+"/") {
			break
		}
		name = match[1]
	}
	return name
}

func clip(text string) string {
	const most = 2000
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

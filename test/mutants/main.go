// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options of a run.
type Options struct {
	Only     string // a regular expression over names; empty: all
	Sample   int    // how many, by chance; 0: all
	Seed     uint64 // of the sample; 0: another one each time, printed
	Parallel int    // mutants at a time
	JSON     string // file; empty: none
	Resume   string // the JSON of an earlier run on the same sources; empty: none
	Report   string // file of markdown; empty: none
}

// Defaults runs all mutants, two at a time.
func Defaults() Options { return Options{Parallel: 2} }

// Validate reports every option that cannot be.
func (o *Options) Validate() error {
	var errs []error
	if _, err := regexp.Compile(o.Only); err != nil {
		errs = append(errs, fmt.Errorf("-only: %w", err))
	}
	if o.Sample < 0 {
		errs = append(errs, fmt.Errorf("-sample %d: want 0 for all, or how many", o.Sample))
	}
	if o.Parallel < 1 {
		errs = append(errs, fmt.Errorf("-parallel %d: want at least 1", o.Parallel))
	}
	return errors.Join(errs...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const (
	exitKilled = iota // all of them
	exitNot
	exitUnknown
)

func run(ctx context.Context, args []string, out, log io.Writer) int {
	o := Defaults()
	f := flag.NewFlagSet("mutants", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&o.Only, "only", o.Only, "a regular expression over the names of mutants")
	f.IntVar(&o.Sample, "sample", o.Sample, "take so many by chance; 0: all")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the sample; 0: by time")
	f.IntVar(&o.Parallel, "parallel", o.Parallel, "mutants at a time")
	f.StringVar(&o.JSON, "json", o.JSON, "write the results to this file")
	f.StringVar(&o.Resume, "resume", o.Resume, "take over what was killed from this file, which -json wrote for the same sources")
	f.StringVar(&o.Report, "report", o.Report, "write a report in markdown to this file")
	if f.Parse(args) != nil {
		return exitUnknown
	}
	report, err := o.run(ctx, log)
	if report != nil {
		err = errors.Join(err, report.table(out), o.write(report))
	}
	switch {
	case err != nil:
		fmt.Fprintln(log, "mutants:", err)
		return exitUnknown
	case !report.clean():
		return exitNot
	}
	return exitKilled
}

func (o *Options) run(ctx context.Context, log io.Writer) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	b := &bench{root: root}
	if b.generator, err = newGenerator(ctx, root); err != nil {
		return nil, err
	}
	mutants := o.choose(list(), log)
	if len(mutants) == 0 {
		return nil, fmt.Errorf("no mutant has a name like %q", o.Only)
	}
	report := &Report{Commit: commit(ctx, root), Of: len(list())}
	if report.Results, err = killedBefore(o.Resume, report.Commit); err != nil {
		return nil, err
	}
	mutants = slices.DeleteFunc(mutants, func(m Mutant) bool { return report.has(m.Name) })
	if err := b.baseline(ctx, mutants, log); err != nil {
		return nil, err
	}
	results, err := b.judgeAll(ctx, mutants, o.Parallel, log)
	// Those that an interrupted run did not come to have no fate.
	report.Results = append(report.Results, slices.DeleteFunc(results, func(r Result) bool { return r.Fate == "" })...)
	slices.SortStableFunc(report.Results, func(a, b Result) int { return a.Line - b.Line })
	return report, err
}

// choose returns the mutants to run, in the order of the list.
func (o *Options) choose(all []Mutant, log io.Writer) []Mutant {
	only := regexp.MustCompile(o.Only)
	all = slices.DeleteFunc(all, func(m Mutant) bool { return !only.MatchString(m.Name) })
	if o.Sample == 0 || o.Sample >= len(all) {
		return all
	}
	seed := o.Seed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) & 0xffffffff
	}
	fmt.Fprintf(log, "a sample of %d of %d mutants, seed %d\n", o.Sample, len(all), seed)
	chosen := rand.New(rand.NewPCG(seed, 0)).Perm(len(all))[:o.Sample]
	slices.Sort(chosen)
	var out []Mutant
	for _, i := range chosen {
		out = append(out, all[i])
	}
	return out
}

// baseline runs every suite once without a fault, with an object compiled
// here: else a test that fails anyway, or another clang, would kill all.
func (b *bench) baseline(ctx context.Context, mutants []Mutant, log io.Writer) error {
	dir, err := os.MkdirTemp("", "weir-mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := b.overlay(ctx, dir, nil)
	if err != nil {
		return fmt.Errorf("the programs as they are: %w (make packages-generate installs clang)", err)
	}
	suites := joined(mutants)
	for _, s := range suites {
		out, failed, err := b.test(ctx, overlay, s)
		if err != nil {
			return err
		}
		if failed {
			return fmt.Errorf("%s -run '%s' fails without any mutant: make it pass first\n%s", s.Package, s.Run, clip(out))
		}
	}
	fmt.Fprintf(log, "the tests of %d packages pass without a mutant\n", len(suites))
	return nil
}

// joined are the suites of the mutants, one for each package: what they share
// of a test is run once.
func joined(mutants []Mutant) []Suite {
	var suites []Suite
	seen := map[Suite]bool{}
	for _, m := range mutants {
		if seen[m.Tests] {
			continue
		}
		seen[m.Tests] = true
		i := slices.IndexFunc(suites, func(s Suite) bool { return s.Package == m.Tests.Package })
		if i < 0 {
			suites = append(suites, m.Tests)
			continue
		}
		suites[i].Run += "|" + m.Tests.Run
	}
	return suites
}

// judgeAll judges so many at a time, and returns the results in order.
func (b *bench) judgeAll(ctx context.Context, mutants []Mutant, parallel int, log io.Writer) ([]Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, errs := make([]Result, len(mutants)), make([]error, len(mutants))
	next := make(chan int)
	var told sync.Mutex
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := range next {
				if results[i], errs[i] = b.judge(ctx, &mutants[i]); errs[i] != nil {
					results[i].Fate = ""
					cancel()
					continue
				}
				told.Lock()
				fmt.Fprintf(log, "%-9s %5.1fs line %2d %s %s\n", results[i].Fate, results[i].Seconds, results[i].Line, results[i].Mutant, results[i].By)
				told.Unlock()
			}
		})
	}
	for i := range mutants {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return results, cmp.Or(errors.Join(errs...), ctx.Err())
}

func (o *Options) write(r *Report) error {
	byName := map[string]Mutant{}
	for _, m := range list() {
		byName[m.Name] = m
	}
	return errors.Join(
		writeFile(o.JSON, r.json),
		writeFile(o.Report, func(w io.Writer) error { return r.markdown(w, byName) }))
}

func writeFile(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("find the module: no go.mod here: run it in the repository")
	}
	return filepath.Dir(file), nil
}

// commit names what was tested; sources that differ from it are said to.
func commit(ctx context.Context, root string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude", "*")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// SPDX-License-Identifier: Apache-2.0

// Command weir-e2e-report writes REPORT.md from what test/e2e/run.sh left.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	results := flag.String("results", "", "`folder` of the results, one folder for each variant")
	exclusions := flag.String("exclusions", "", "`file` of the specs that are left out")
	page := flag.String("page", "REPORT.md", "`file` to write")
	flag.Parse()
	if err := report(*results, *exclusions, *page); err != nil {
		fmt.Fprintln(os.Stderr, "weir-e2e-report:", err)
		os.Exit(1)
	}
}

func report(results, exclusions, page string) error {
	folders, err := filepath.Glob(filepath.Join(results, "*", "about.json"))
	if err != nil {
		return err
	}
	if len(folders) == 0 {
		return fmt.Errorf("no results in %s; make e2e makes them", results)
	}
	var list []run
	for _, about := range folders {
		r, err := load(filepath.Dir(about))
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	excluded, err := os.ReadFile(exclusions)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(write(list, string(excluded))), 0o644)
}

// run of one variant.
type run struct {
	Variant, Commit, Kernel, Began string
	control, rows                  []row
	server                         []row  // tests of the agent's packages at the API server
	specs                          []spec // of the upstream suite; none: it was not run
}

// row is one test of ours.
type row struct {
	name, result string
	seconds      float64
	told         []string // figures
}

// spec of the upstream suite.
type spec struct {
	LeafNodeText            string
	ContainerHierarchyTexts []string
	State                   string
	RunTime                 float64 // nanoseconds
}

func load(dir string) (run, error) {
	var r run
	raw, err := os.ReadFile(filepath.Join(dir, "about.json"))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err == nil {
		r.control, err = loadRows(filepath.Join(dir, "control.json"))
	}
	if err == nil {
		r.rows, err = loadRows(filepath.Join(dir, "rows.json"))
	}
	if err == nil {
		r.server, err = loadRows(filepath.Join(dir, "server.json"))
	}
	if err == nil {
		r.specs, err = loadSpecs(filepath.Join(dir, "netpol.json"))
	}
	if err != nil {
		return r, fmt.Errorf("results of %s: %w", dir, err)
	}
	return r, nil
}

// loadRows of a file of go tool test2json: tests, not their parts.
func loadRows(file string) ([]row, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []row
	told := map[string][]string{}
	for line := range bytes.Lines(raw) {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name, part, _ := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			if _, text, ok := strings.Cut(e.Output, "_test.go:"); ok && strings.HasPrefix(e.Output, "    ") {
				_, text, _ = strings.Cut(text, ": ")
				told[name] = append(told[name], strings.TrimSpace(strings.TrimPrefix(part+": "+text, ": ")))
			}
		case "pass", "fail", "skip":
			if name != "" && part == "" {
				list = append(list, row{name: name, result: e.Action, seconds: e.Elapsed, told: told[name]})
			}
		}
	}
	return list, nil
}

// loadSpecs of the suite's own report: those of NetworkPolicy.
func loadSpecs(file string) ([]spec, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var suites []struct{ SpecReports []spec }
	if err := json.Unmarshal(raw, &suites); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var list []spec
	for _, suite := range suites {
		for _, s := range suite.SpecReports {
			if len(s.ContainerHierarchyTexts) > 0 && strings.Contains(s.ContainerHierarchyTexts[0], "[sig-network] Netpol") {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Names of the files, and the types in them, as test/bench/record has them.
// An unknown field is an error: then the two have grown apart.
const (
	packetsFile = "packets.json"
	spreadFile  = "packets-spread.json"
	trafficFile = "traffic.json"
	controlFile = "control.json"
	runsFile    = "runs.json"
)

type packet struct {
	Program     string  `json:"program"`
	Case        string  `json:"case"`
	Family      string  `json:"family"`
	Rows        int     `json:"rows"`
	NsOverEmpty float64 `json:"ns_over_empty"`
	Rounds      int     `json:"rounds"`
}

type traffic struct {
	Workload string  `json:"workload"`
	Wiring   string  `json:"wiring"`
	Variant  string  `json:"variant"`
	Baseline string  `json:"baseline"`
	Policies int     `json:"policies"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Ratio    float64 `json:"ratio"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Pairs    int     `json:"pairs"`
}

type control struct {
	Operation   string  `json:"operation"`
	Namespaces  int     `json:"namespaces"`
	Pods        int     `json:"pods"`
	Policies    int     `json:"policies"`
	Local       int     `json:"local"`
	TotalMs     float64 `json:"total_ms"`
	ResolveMs   float64 `json:"resolve_ms"`
	CompileMs   float64 `json:"compile_ms"`
	ApplyMs     float64 `json:"apply_ms"`
	Writes      int     `json:"writes"`
	Peers       int     `json:"peers"`
	Rows        int     `json:"rows"`
	Allocations uint64  `json:"allocations"`
	Bytes       uint64  `json:"bytes"`
	PeakMB      float64 `json:"peak_mb"`
	InputMB     float64 `json:"input_mb"`
	Rounds      int     `json:"rounds"`
}

type run struct {
	Machine string    `json:"machine"`
	CPUs    int       `json:"cpus"`
	Memory  uint64    `json:"memory_mb"`
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	Commit  string    `json:"commit"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Load    float64   `json:"load"`
	Notes   []string  `json:"notes"`
}

// results of all benchmarks that were run; the others are empty.
type results struct {
	packets, spread []packet
	traffic         []traffic
	control         []control
	runs            map[string]run
}

func load(dir string) (results, error) {
	var r results
	err := errors.Join(
		read(dir, packetsFile, &r.packets), read(dir, spreadFile, &r.spread), read(dir, trafficFile, &r.traffic),
		read(dir, controlFile, &r.control), read(dir, runsFile, &r.runs))
	if err == nil && len(r.runs) == 0 {
		err = fmt.Errorf("no results in %s: run make bench-packets, bench-traffic or bench-control first", dir)
	}
	return r, err
}

// read leaves into as it is, if there is no such file.
func read(dir, name string, into any) error {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	decoder := json.NewDecoder(f)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}

// distinct values in the order in which they come.
func distinct[T any, K comparable](list []T, key func(T) K) []K {
	var keys []K
	seen := map[K]bool{}
	for _, item := range list {
		if k := key(item); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}

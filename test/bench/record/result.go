// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the files in a folder of results. Each is a list of one of the
// types below, but for RunsFile.
const (
	PacketsFile = "packets.json"
	// SpreadFile has the form of PacketsFile: new flows whose peers are spread
	// over all rows.
	SpreadFile  = "packets-spread.json"
	TrafficFile = "traffic.json"
	ControlFile = "control.json"
	ChangeFile  = "change.json"
	// RunsFile maps the name of a file above to the Run that wrote it.
	RunsFile = "runs.json"
)

// Packet is one cell of the table of packets.
type Packet struct {
	Program string `json:"program"` // from_pod, to_pod, forward, floor
	Case    string `json:"case"`
	Family  string `json:"family"` // IPv4, IPv6
	Rows    int    `json:"rows"`   // of policy, in the set of the program's direction
	// NsOverEmpty is CPU time of a packet, less that of the empty program in
	// the same round; the median of the rounds.
	NsOverEmpty float64 `json:"ns_over_empty"`
	Rounds      int     `json:"rounds"`
}

// Traffic compares a variant with a baseline, by pairs of runs that took turns.
type Traffic struct {
	Workload string `json:"workload"` // request/response, connect-request-close, one-way UDP
	Wiring   string `json:"wiring"`   // routed, bridged
	Variant  string `json:"variant"`
	Baseline string `json:"baseline"` // the variant that it is compared with
	Policies int    `json:"policies"` // that select both pods
	// Value of the variant: median latency in us, or datagrams/s; the median
	// of the runs.
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // us, 1/s
	// Ratio to the baseline: the median over the pairs, with a 95 % interval.
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Pairs int     `json:"pairs"`
}

// Control is one operation of the control plane: resolve, compile, apply.
type Control struct {
	Operation  string `json:"operation"`
	Namespaces int    `json:"namespaces"`
	Pods       int    `json:"pods"`
	Policies   int    `json:"policies"`
	Local      int    `json:"local"` // pods of this node
	// Medians of the rounds, in ms.
	TotalMs   float64 `json:"total_ms"`
	ResolveMs float64 `json:"resolve_ms"`
	CompileMs float64 `json:"compile_ms"`
	ApplyMs   float64 `json:"apply_ms"`
	// Writes are the entries that the update has for the maps; Peers and Rows
	// are parts of it.
	Writes int `json:"writes"`
	Peers  int `json:"peers"`
	Rows   int `json:"rows"`
	// Allocations and bytes of the heap in one round.
	Allocations uint64 `json:"allocations"`
	Bytes       uint64 `json:"bytes"`
	// PeakMB is the most memory that the process had, with the objects
	// themselves, which are InputMB of heap. Full start only.
	PeakMB  float64 `json:"peak_mb,omitempty"`
	InputMB float64 `json:"input_mb,omitempty"`
	Rounds  int     `json:"rounds"`
}

// What the lines of ChangeFile are about.
const (
	Opening       = "opening"
	Shutting      = "shutting"
	ApplyOpening  = "opening, what the agent calls applying"
	ApplyShutting = "shutting, what the agent calls applying"
	BareWork      = "bare work of 5 ms"
	WakeUp        = "wake-up of a real-time thread, late by"
)

// Change is one line of the table of policy changes. Opening: from the
// rename(2) of a policy's file to the first packet that arrives. Shutting: to
// the last one. Apply: the part of it that is last_apply of `weir status`. The
// other two are what the machine costs without weir, in the same run.
type Change struct {
	What     string `json:"what"`     // a constant above
	Pods     int    `json:"pods"`     // of this node
	Policies int    `json:"policies"` // that select all of them
	// All: every round, or every wake-up.
	All Distribution `json:"all"`
	// Undisturbed: those in which each CPU woke its real-time thread in time.
	// None of WakeUp, and none of what the agent says.
	Undisturbed Distribution `json:"undisturbed,omitzero"`
}

// Distribution of times, in ms.
type Distribution struct {
	Count int     `json:"count"`
	P50Ms float64 `json:"p50_ms"`
	P90Ms float64 `json:"p90_ms"`
	P99Ms float64 `json:"p99_ms"`
	MaxMs float64 `json:"max_ms"`
}

// Save writes a list, and what is known of the run that made it.
func Save[T any](dir, name string, list []T, run Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	runs, err := Load[map[string]Run](dir, RunsFile)
	if errors.Is(err, fs.ErrNotExist) {
		runs = map[string]Run{}
	} else if err != nil {
		return err
	}
	runs[name] = run
	return errors.Join(write(dir, name, list), write(dir, RunsFile, runs))
}

func write(dir, name string, content any) error {
	raw, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(dir, name), append(raw, '\n'), 0o644)
}

// Load reads a file of results. One with fields that this build does not know
// is an error.
func Load[T any](dir, name string) (T, error) {
	var content T
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return content, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&content); err != nil {
		return content, fmt.Errorf("read %s: %w; delete it and run its benchmark again", filepath.Join(dir, name), err)
	}
	return content, nil
}

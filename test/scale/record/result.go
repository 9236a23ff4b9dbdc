// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	machine "github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/measure"
)

// Result of a run. Memory is in bytes, times are in seconds unless they say
// otherwise, CPU in percent of one core.
type Result struct {
	Machine machine.Run `json:"machine"`
	Plan    load.Plan   `json:"plan"`
	// Limit of the agent's memory, of the chart; 0: none.
	Limit uint64 `json:"limit"`
	// Bare is the agent with its pods and nothing else in the cluster: no
	// policies, no pods elsewhere.
	Bare Rest `json:"bare"`
	// Start of the agent in the full cluster, until it was ready.
	Start Start `json:"start"`
	// Rest in the full cluster, in which nothing changes.
	Rest  Rest  `json:"rest"`
	Churn Churn `json:"churn"`
	// Probes are connections that were tried at the end.
	Probes  Probes  `json:"probes"`
	Clients Clients `json:"clients"`
}

// Memory of the agent.
type Memory struct {
	Resident     uint64 `json:"resident"`
	ResidentPeak uint64 `json:"resident_peak"` // since its start
	// Charged to its control group, with the maps in the kernel.
	Charged     uint64 `json:"charged"`
	ChargedPeak uint64 `json:"charged_peak"`
	Heap        uint64 `json:"heap"` // of Go, in use
}

// Rest is a time in which nothing happens.
type Rest struct {
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu_percent"`
	Memory   Memory  `json:"memory"`
	Received uint64  `json:"received"` // bytes from the API server
	Sent     uint64  `json:"sent"`
}

// Start of an agent.
type Start struct {
	Seconds  float64 `json:"seconds"` // until ready
	CPU      float64 `json:"cpu_seconds"`
	Received uint64  `json:"received"`
	Sent     uint64  `json:"sent"`
	Requests int     `json:"requests"`
	Memory   Memory  `json:"memory"`
	Enforced int     `json:"enforced"` // local pods whose policy is in force
}

// Churn is the agent while pods come and go.
type Churn struct {
	load.Churned
	CPU      float64            `json:"cpu_percent"`
	Memory   Memory             `json:"memory"`
	Received uint64             `json:"received"`
	Sent     uint64             `json:"sent"`
	Requests int                `json:"requests"` // of the agent: its watches go on
	Writes   map[string]float64 `json:"writes"`   // by map and operation
	Epochs   uint32             `json:"epochs"`   // moves of the epoch
	Applies  float64            `json:"applies"`  // batches that were applied
	// ApplyMean of a batch, without collections, in ms.
	ApplyMean float64           `json:"apply_mean_ms"`
	Added     Quantiles         `json:"added"`
	Gone      Quantiles         `json:"gone"`
	Looks     Quantiles         `json:"looks"`
	Apart     Quantiles         `json:"apart"`
	Missed    int               `json:"missed"`
	Reused    int               `json:"reused"`
	APICPU    float64           `json:"api_cpu_percent"`
	Agreement measure.Agreement `json:"agreement"`
}

// Probes of the verdicts.
type Probes struct {
	Allowed int `json:"allowed"` // connections that had to pass, and did
	Denied  int `json:"denied"`  // those that had to be denied, and were
}

// Clients are bare watch clients.
type Clients struct {
	Count int `json:"count"`
	// ListBytes is what a client receives until its lists are complete, and
	// ListCPU what that costs the API server, in seconds.
	ListBytes float64 `json:"list_bytes"`
	ListCPU   float64 `json:"list_cpu"`
	// Phases without and with the clients.
	Phases []Phase `json:"phases"`
}

// Phase of the clients.
type Phase struct {
	Clients int     `json:"clients"`
	Rate    int     `json:"rate"` // of the churn; 0: rest
	Seconds float64 `json:"seconds"`
	APICPU  float64 `json:"api_cpu_percent"`
	Bytes   float64 `json:"bytes"`  // a client and second
	Events  float64 `json:"events"` // a client and second
}

// Quantiles of times, in ms.
type Quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// QuantilesOf samples: each is the least of them that so many do not exceed.
func QuantilesOf(samples []time.Duration) Quantiles {
	n := len(samples)
	if n == 0 {
		return Quantiles{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := func(percent int) float64 {
		return float64(sorted[(n*percent+99)/100-1]) / float64(time.Millisecond)
	}
	return Quantiles{Count: n, P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}

// Save the result as JSON.
func (r Result) Save(file string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

// Load a result.
func Load(file string) (Result, error) {
	var r Result
	raw, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read %s: %w; make it anew with weir-scale run", file, err)
	}
	return r, nil
}

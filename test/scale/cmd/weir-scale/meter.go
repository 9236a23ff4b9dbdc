// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/scale/record"
	"github.com/weirnet/weir/test/scale/stage"
)

// reading of all that counts up.
type reading struct {
	at       time.Time
	api      float64 // seconds of CPU
	agent    float64
	traffic  stage.Traffic
	requests int
	metrics  map[string]float64 // of the agent
	epoch    uint32
}

// meter reads what there is; agent may be nil.
func (b *bench) meter(agent *stage.Agent) (r reading, err error) {
	if r.requests, err = b.requests(); err != nil {
		return r, err
	}
	if agent != nil {
		if err := r.readAgent(agent); err != nil {
			return r, err
		}
	}
	if r.traffic, err = b.stage.Traffic(); err != nil {
		return r, err
	}
	if r.api, err = b.stage.API().CPU(); err != nil {
		return r, err
	}
	r.at = time.Now()
	return r, nil
}

func (r *reading) readAgent(agent *stage.Agent) (err error) {
	if r.metrics, err = agent.Metrics("weir_"); err != nil {
		return err
	}
	epoch, err := agent.Map(bpf.WeirMapEpoch)
	if err != nil {
		return err
	}
	defer epoch.Close()
	if err := epoch.Lookup(uint32(0), &r.epoch); err != nil {
		return fmt.Errorf("read epoch: %w", err)
	}
	r.agent, err = agent.Process().CPU()
	return err
}

// requests of the agent that the API server has counted.
func (b *bench) requests() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	raw, err := b.stage.Admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("metrics of the API server: %w", err)
	}
	return requestsIn(raw)
}

// requestsIn sums those of the agent's flow schema.
func requestsIn(metrics []byte) (int, error) {
	total := 0
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "apiserver_flowcontrol_dispatched_requests_total{") || !strings.Contains(line, `flow_schema="`+stage.Requests+`"`) {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metrics of the API server: %q: %w", line, err)
		}
		total += int(n)
	}
	return total, lines.Err()
}

// percent of one core, of seconds of CPU between two readings.
func percent(before, after reading, seconds float64) float64 {
	return seconds / after.at.Sub(before.at).Seconds() * 100
}

func memory(agent *stage.Agent) (record.Memory, error) {
	var m record.Memory
	var err, err2, err3 error
	m.Resident, m.ResidentPeak, err = agent.Process().Resident()
	m.Charged, m.ChargedPeak, err2 = agent.Charged()
	metrics, err3 := agent.Metrics("go_memstats_heap_inuse_bytes")
	m.Heap = uint64(metrics["go_memstats_heap_inuse_bytes"])
	return m, errors.Join(err, err2, err3)
}

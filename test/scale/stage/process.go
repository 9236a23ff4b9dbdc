// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process is a process by its id.
type Process int

// ticks a second of times in /proc: USER_HZ, on every architecture that Go
// runs on.
const ticks = 100

// fields of /proc/PID/stat behind the name, which may hold anything.
func (p Process) fields() ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat is not as expected: %q", p, raw)
	}
	return fields, nil
}

// CPU is the time that the process has run, in seconds: its own and what the
// kernel did for it.
func (p Process) CPU() (float64, error) {
	fields, err := p.fields()
	if err != nil {
		return 0, err
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	return float64(user+system) / ticks, errors.Join(err, err2)
}

func zombie(pid int) bool {
	fields, err := Process(pid).fields()
	return err == nil && fields[0] == "Z"
}

// Resident memory of the process now, and the most that it ever was, in bytes.
func (p Process) Resident() (now, peak uint64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("/proc/%d/status tells no resident memory: has the process ended?", p)
	}
	return now, peak, nil
}

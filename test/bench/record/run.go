// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bufio"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Run says where and when results were taken.
type Run struct {
	Machine string    `json:"machine"` // model of the CPU
	CPUs    int       `json:"cpus"`
	Memory  uint64    `json:"memory_mb"`
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	Commit  string    `json:"commit"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// Load is the machine's load average (1 minute) when the run began: other
	// work spoils results.
	Load float64 `json:"load"`
	// Notes are what a reader of the figures has to know, one sentence each.
	Notes []string `json:"notes,omitempty"`
}

// Begin describes this machine.
func Begin(commit string) Run {
	r := Run{Machine: processor(), CPUs: runtime.NumCPU(), Go: runtime.Version(), Commit: commit, Began: time.Now().UTC().Truncate(time.Second)}
	var name syscall.Utsname
	if syscall.Uname(&name) == nil {
		r.Kernel = text(name.Release[:])
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		r.Memory = uint64(info.Totalram) * uint64(info.Unit) >> 20
		r.Load = float64(info.Loads[0]) / 65536
	}
	return r
}

// Ended is the run with its duration.
func (r Run) Ended(notes ...string) Run {
	r.Seconds = time.Since(r.Began).Round(time.Second).Seconds()
	r.Notes = notes
	return r
}

func text[T int8 | uint8](chars []T) string {
	var b strings.Builder
	for _, c := range chars {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// processor is "unknown" where the kernel does not say it (arm64).
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// SPDX-License-Identifier: Apache-2.0

package change

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/test/bench/record"
)

func (r *run) results(o Options, saw *testimony) []record.Change {
	var list []record.Change
	add := func(what string, all, undisturbed record.Distribution) {
		list = append(list, record.Change{What: what, Pods: o.Pods, Policies: o.Policies, All: all, Undisturbed: undisturbed})
	}
	for _, line := range []struct {
		what  string
		spans []span
	}{{record.Opening, r.opening}, {record.Shutting, r.shutting}, {record.BareWork, r.worked}} {
		add(line.what, record.Distribute(durations(line.spans)), record.Distribute(durations(undisturbed(line.spans, saw.Late))))
	}
	add(record.ApplyOpening, record.Distribute(r.appliedOpen), record.Distribution{})
	add(record.ApplyShutting, record.Distribute(r.appliedShut), record.Distribution{})
	add(record.WakeUp, saw.distribution(), record.Distribution{})
	return list
}

func (r *run) notes(saw *testimony, stolen time.Duration) []string {
	var late time.Duration
	for _, s := range saw.Late {
		late += s.took()
	}
	return []string{
		"From the rename(2) of the policy's file to the arrival that the receiver's process sees; IPv4, UDP, two pods of one node.",
		fmt.Sprintf("Opening: a packet each %v or a little more, until one arrives. Shutting: each %v, to the last that arrives; shut is a way by which nothing came for %v. Changes are at least %v apart.", openingPause, shuttingPause, quiet, apart),
		fmt.Sprintf("%d packets were sent by a way that was shut, and none arrived.", r.kept),
		fmt.Sprintf("Witnesses: a thread of real-time priority (SCHED_FIFO) on each CPU, that sleeps %v at a time. Only the host of this machine, and stretches of the kernel without a preemption, can delay it; in %.0f s they were late by more than %v %d times, for %.0f ms in all. Undisturbed: no witness was so at the time.", period, (r.ended - r.begun).Seconds(), tardy, len(saw.Late), record.Ms(late)),
		fmt.Sprintf("If weir itself delayed witnesses, by its calls of the kernel, more would be late within changes: it was %.1f times a second there, %.1f within bare work.", lateRate(slices.Concat(r.opening, r.shutting), saw.Late), lateRate(r.worked, saw.Late)),
		fmt.Sprintf("Bare work: a loop in registers, which usually takes %v, once a round, with the CPUs idle but for it and the witnesses.", workTime),
		fmt.Sprintf("Meanwhile the host of this machine took %.0f ms of its CPUs' time away, by /proc/stat (steal).", record.Ms(stolen)),
	}
}

// stolenTime is what the host has taken from all CPUs since the start: "steal"
// of proc_stat(5), in ticks of 10 ms.
func stolenTime() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	return parseStolen(string(line))
}

func parseStolen(line string) (time.Duration, error) {
	const steal = 8 // field, from 0
	fields := strings.Fields(line)
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, errors.New("/proc/stat has no time that the host took (steal)")
	}
	var ticks int64
	if _, err := fmt.Sscan(fields[steal], &ticks); err != nil {
		return 0, fmt.Errorf("/proc/stat, steal: %w", err)
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

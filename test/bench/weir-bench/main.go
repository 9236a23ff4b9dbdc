// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/weirnet/weir/test/bench/change"
	"github.com/weirnet/weir/test/bench/control"
	"github.com/weirnet/weir/test/bench/packets"
	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/bench/traffic"
)

func main() {
	if known, err := child(os.Args[1:]); known {
		if err != nil {
			fmt.Fprintln(os.Stderr, "weir-bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "weir-bench:", err)
		stop()
		os.Exit(1)
	}
}

// child is what a part runs as a process of its own: this program, again.
func child(args []string) (known bool, err error) {
	switch {
	case len(args) > 0 && args[0] == traffic.PeerCommand:
		return true, traffic.Peer(args[1:])
	case len(args) > 0 && args[0] == change.WitnessCommand:
		return true, change.Witness()
	}
	return false, nil
}

// parts of the benchmark.
var parts = map[string]func(context.Context, settings) error{
	"packets": measurePackets,
	"traffic": measureTraffic,
	"control": measureControl,
	"change":  measureChange,
}

type settings struct {
	out, commit, bin, beside string
	quick                    bool
}

func run(ctx context.Context, args []string) error {
	var s settings
	set := flag.NewFlagSet("weir-bench", flag.ContinueOnError)
	set.StringVar(&s.out, "out", "test/bench/out", "`folder` of the results")
	set.StringVar(&s.commit, "commit", "unknown", "what is measured, for the results")
	set.StringVar(&s.bin, "bin", ".bin", "`folder` with weir-agent and weir, for traffic and change")
	set.StringVar(&s.beside, "beside", "", "`folder` with another build: traffic compares the two, and writes no results")
	set.BoolVar(&s.quick, "quick", false, "few rounds: to try the benchmark, not to judge by")
	if err := set.Parse(args); err != nil {
		return err
	}
	part, known := parts[set.Arg(0)]
	if !known || set.NArg() != 1 {
		return fmt.Errorf("part %q: want one of packets, traffic, control, change", set.Arg(0))
	}
	if s.beside != "" && set.Arg(0) != "traffic" {
		return fmt.Errorf("-beside %s: only traffic compares two builds, not %s", s.beside, set.Arg(0))
	}
	for _, folder := range []*string{&s.bin, &s.beside} {
		if *folder == "" {
			continue
		}
		var err error
		if *folder, err = filepath.Abs(*folder); err != nil {
			return err
		}
		if set.Arg(0) != "traffic" && set.Arg(0) != "change" {
			continue
		}
		if _, err := os.Stat(filepath.Join(*folder, "weir-agent")); err != nil {
			return fmt.Errorf("no build of weir: %w; make build makes one in .bin, -bin and -beside name other folders", err)
		}
	}
	return part(ctx, s)
}

func measurePackets(ctx context.Context, s settings) error {
	o := packets.Defaults()
	if s.quick {
		o = packets.Quick()
	}
	o.Told = func(r record.Packet) {
		fmt.Printf("%-17s %-24s %s %6d rows %8.1f ns over empty\n", r.Program, r.Case, r.Family, r.Rows, r.NsOverEmpty)
	}
	begun := record.Begin(s.commit)
	results, err := packets.Measure(ctx, o)
	if err != nil {
		return err
	}
	if err := record.Save(s.out, record.PacketsFile, results, begun.Ended(o.Notes()...)); err != nil {
		return err
	}
	o.Spread = true
	fmt.Println("peers spread over all rows:")
	begun = record.Begin(s.commit)
	if results, err = packets.Measure(ctx, o); err != nil {
		return err
	}
	return record.Save(s.out, record.SpreadFile, results, begun.Ended(o.Notes()...))
}

func measureControl(ctx context.Context, s settings) error {
	o := control.Defaults()
	if s.quick {
		o = control.Quick()
	}
	o.Told = func(r record.Control) {
		fmt.Printf("%-34s %6d pods %6d policies %10.3f ms (resolve %.3f, compile %.3f, apply %.3f) %6d writes %8d allocations, peak %.0f MB\n",
			r.Operation, r.Pods, r.Policies, r.TotalMs, r.ResolveMs, r.CompileMs, r.ApplyMs, r.Writes, r.Allocations, r.PeakMB)
	}
	begun := record.Begin(s.commit)
	results, err := control.Measure(ctx, o)
	if err != nil {
		return err
	}
	return record.Save(s.out, record.ControlFile, results, begun.Ended(control.Notes()...))
}

func measureTraffic(ctx context.Context, s settings) error {
	o := traffic.Defaults()
	if s.beside != "" {
		o = traffic.Compared(s.beside)
	} else if s.quick {
		o = traffic.Quick()
	}
	o.Bin = s.bin
	o.Told = func(r record.Traffic) {
		fmt.Printf("%-22s %-8s %-22s %5d policies %10.1f %-3s ratio %.3f (%.3f to %.3f, %d pairs)\n",
			r.Workload, r.Wiring, r.Variant, r.Policies, r.Value, r.Unit, r.Ratio, r.Low, r.High, r.Pairs)
	}
	begun := record.Begin(s.commit)
	results, notes, err := traffic.Measure(ctx, o)
	if err != nil || s.beside != "" {
		return err
	}
	return record.Save(s.out, record.TrafficFile, results, begun.Ended(notes...))
}

func measureChange(ctx context.Context, s settings) error {
	o := change.Defaults()
	if s.quick {
		o = change.Quick()
	}
	o.Bin = s.bin
	o.Told = func(r record.Change) {
		fmt.Printf("%-40s %s", r.What, inWords(r.All))
		if r.Undisturbed.Count > 0 {
			fmt.Printf("; undisturbed %s", inWords(r.Undisturbed))
		}
		fmt.Println()
	}
	begun := record.Begin(s.commit)
	results, notes, err := change.Measure(ctx, o)
	if err != nil {
		return err
	}
	return record.Save(s.out, record.ChangeFile, results, begun.Ended(notes...))
}

func inWords(d record.Distribution) string {
	return fmt.Sprintf("%6d: p50 %.2f, p90 %.2f, p99 %.2f, max %.2f ms", d.Count, d.P50Ms, d.P90Ms, d.P99Ms, d.MaxMs)
}

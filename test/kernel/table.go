// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteResults has a line for each kernel and program.
func WriteResults(w io.Writer, names []string, reports map[string]*Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KERNEL\tRELEASE\tPROGRAM\tRESULT\tPASSED\tFAILED\tSKIPPED\tTOOK")
	for _, name := range names {
		report := reports[name]
		if report == nil {
			continue
		}
		for _, p := range report.Programs {
			result := "failed"
			if p.Outcome.Passed {
				result = "passed"
			}
			if !p.Ended {
				result = "cut off"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", name, report.Kernel, p.Name, result, p.Passed, p.Failed, p.Skipped, p.Took.Round(time.Second))
		}
	}
	return table.Flush()
}

// WriteFeatures has a line for each feature and a column for each kernel. A
// probe's line is a name, a colon, and what was found.
func WriteFeatures(w io.Writer, names []string, reports map[string]*Report) error {
	var features []string
	found := map[[2]string]string{}
	for _, name := range names {
		report := reports[name]
		if report == nil {
			continue
		}
		for _, line := range report.Features {
			feature, value, _ := strings.Cut(line, ": ")
			if !slices.Contains(features, feature) {
				features = append(features, feature)
			}
			found[[2]string{feature, name}] = value
		}
	}
	if len(features) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(table, "| feature\t| %s\t|\n", strings.Join(names, "\t| "))
	fmt.Fprintf(table, "| ---\t%s|\n", strings.Repeat("| ---\t", len(names)))
	for _, feature := range features {
		fmt.Fprintf(table, "| %s\t", feature)
		for _, name := range names {
			fmt.Fprintf(table, "| %s\t", found[[2]string{feature, name}])
		}
		fmt.Fprintln(table, "|")
	}
	return table.Flush()
}

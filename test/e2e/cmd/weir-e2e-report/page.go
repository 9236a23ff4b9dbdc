// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// write the page.
func write(runs []run, exclusions string) string {
	var b strings.Builder
	b.WriteString("# End-to-end tests\n\nMade by `make e2e`; not to be edited. Two nodes in namespaces of one machine (test/cluster).\n")
	for _, r := range runs {
		fmt.Fprintf(&b, "\n## %s\n\nCommit %s, kernel %s, %s.\n", r.Variant, r.Commit, r.Kernel, r.Began)
		writeRows(&b, "weir's own rows", r.rows)
		writeRows(&b, "The same without weir: what policy denies must pass, or the rows prove nothing", r.control)
		if len(r.server) > 0 {
			writeRows(&b, "The agent's side of the API server", r.server)
		}
		writeSpecs(&b, r.specs)
	}
	b.WriteString("\n## What is left out of the upstream suite\n\n")
	for line := range strings.Lines(exclusions) {
		if pattern, reason, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(pattern, "#") {
			fmt.Fprintf(&b, "- `%s`: %s\n", pattern, reason)
		}
	}
	b.WriteString("\nThe list is test/cluster/netpol/exclusions.txt.\n")
	return b.String()
}

func writeRows(b *strings.Builder, title string, rows []row) {
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if len(rows) == 0 {
		b.WriteString("Not run.\n")
		return
	}
	b.WriteString("| row | result | seconds | |\n| --- | --- | ---: | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %.1f | %s |\n", r.name, mark(r.result), r.seconds, strings.ReplaceAll(strings.Join(r.told, "; "), "|", "\\|"))
	}
}

func mark(result string) string {
	if result == "fail" || result == "failed" {
		return "**" + result + "**"
	}
	return result
}

func writeSpecs(b *strings.Builder, specs []spec) {
	b.WriteString("\n### The upstream NetworkPolicy suite\n\n")
	if len(specs) == 0 {
		b.WriteString("Not run.\n")
		return
	}
	counts := map[string]int{}
	seconds := 0.0
	for _, s := range specs {
		counts[s.State]++
		seconds += s.RunTime / 1e9
	}
	other := len(specs) - counts["passed"] - counts["failed"] - counts["skipped"]
	fmt.Fprintf(b, "%d specs: %d passed, %d failed, %d left out, %d other; %.0f s.\n\n| spec | result | seconds |\n| --- | --- | ---: |\n",
		len(specs), counts["passed"], counts["failed"], counts["skipped"], other, seconds)
	for _, s := range specs {
		name := strings.Join(append(s.ContainerHierarchyTexts[1:], s.LeafNodeText), " ")
		fmt.Fprintf(b, "| %s | %s | %.0f |\n", strings.ReplaceAll(name, "|", "\\|"), mark(s.State), s.RunTime/1e9)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("results", "../out", "`folder` of the results")
	page := flag.String("page", "..", "`folder` that gets REPORT.md and the plots")
	flag.Parse()
	if err := report(*out, *page); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(out, page string) error {
	r, err := load(out)
	if err != nil {
		return err
	}
	plots, err := draw(r, page)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(page, "REPORT.md"), []byte(r.page(plots)), 0o644)
}

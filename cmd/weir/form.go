// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// form is the flag -o of the commands that answer once.
type form struct{ name string }

func (f *form) flag(c *cobra.Command) {
	c.Flags().StringVarP(&f.name, "output", "o", "text", "text, or json: one object, names as in weir.proto")
}

func (f *form) check(c *cobra.Command) error {
	if f.name != "text" && f.name != "json" {
		return wrong(c, fmt.Errorf("--output: %q is not known; use text or json", f.name))
	}
	return nil
}

func (f *form) json() bool { return f.name == "json" }

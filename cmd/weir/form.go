// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/weirnet/weir/cmd/weir/output"
)

// form is the flag -o of the commands that answer once.
type form struct{ name string }

func (f *form) flag(c *cobra.Command) {
	c.Flags().StringVarP(&f.name, "output", "o", "text", "text; or json or yaml: one object, names as in weir.proto")
	completeWith(c, "output", "text", "json", "yaml")
}

func (f *form) check(c *cobra.Command) error {
	switch f.name {
	case "text", "json", "yaml":
		return nil
	}
	return wrong(c, fmt.Errorf("--output: %q is not known; use text, json or yaml", f.name))
}

// write writes an answer in the form asked for; text writes it as text.
func (f *form) write(s *session, answer proto.Message, text func() error) error {
	switch f.name {
	case "json":
		return output.WriteJSON(s.out, answer)
	case "yaml":
		return output.WriteYAML(s.out, answer)
	}
	return text()
}

// SPDX-License-Identifier: Apache-2.0

// Command weir-variant builds weir with other layouts of its maps, from the
// sources in the current folder.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/weirnet/weir/test/variant"
)

func main() {
	out := flag.String("out", "", "`folder` that gets weir-agent, weir and weir-cni; what it holds is replaced")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "weir-variant:", err)
		os.Exit(1)
	}
}

func run(out string) (err error) {
	if out == "" || flag.NArg() > 0 {
		return errors.New("want -out FOLDER and nothing else")
	}
	dir, err := os.MkdirTemp("", "weir-variant-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin, err := variant.Build(".", dir, variant.Layouts())
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.CopyFS(out, os.DirFS(bin))
}

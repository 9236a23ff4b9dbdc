// SPDX-License-Identifier: Apache-2.0

// Command tool makes what weir is installed from: manifests rendered from the
// Helm chart, and the container image. It is a module of its own, so that the
// libraries of Helm and of registries are no part of weir's.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/deploy/tool/chart"
	"github.com/weirnet/weir/deploy/tool/image"
)

const usage = `tool manifests -chart DIR -out DIR [-values FILE]
    render install.yaml and cleanup.yaml, with the chart's values or these
tool image -bin DIR -out DIR -tag NAME:TAG [-commit ID]
    make an OCI layout (DIR/oci) and a tar for "ctr images import" for each
    architecture (DIR/weir-ARCH.tar) of DIR/ARCH/{weir-agent,weir-cni,weir}`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("no command; usage:\n" + usage)
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	out := fs.String("out", "", "folder for what is made")
	switch args[0] {
	case "manifests":
		dir := fs.String("chart", "", "folder of the chart")
		file := fs.String("values", "", "values in YAML, as helm takes them")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		return manifests(*dir, *file, *out)
	case "image":
		o := image.Options{}
		fs.StringVar(&o.Binaries, "bin", "", "folder with a folder of binaries for each architecture")
		fs.StringVar(&o.Tag, "tag", "", "name of the image")
		fs.StringVar(&o.Commit, "commit", "", "what it was built from")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		o.Out = *out
		return image.Make(o)
	}
	return fmt.Errorf("unknown command %q; usage:\n%s", args[0], usage)
}

func manifests(dir, file, out string) error {
	var values map[string]any
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := yaml.Unmarshal(raw, &values); err != nil {
			return fmt.Errorf("values of %s: %w", file, err)
		}
	}
	for name, render := range map[string]func(string, map[string]any) ([]byte, error){
		"install.yaml": chart.Install,
		"cleanup.yaml": chart.Cleanup,
	} {
		text, err := render(dir, values)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

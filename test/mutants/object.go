// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// generator is the command that makes the BPF object and its Go types.
type generator struct {
	path string
	args []string
}

const (
	generateLine = "//go:generate go tool bpf2go "
	programDir   = "bpf"
)

// products of the generator, beside bpf/doc.go.
var products = []string{"weir_bpfel.o", "weir_bpfel.go"}

// newGenerator reads the command from bpf/doc.go, so that mutants are compiled
// as the programs are.
func newGenerator(ctx context.Context, root string) (*generator, error) {
	doc := filepath.Join(root, programDir, "doc.go")
	text, err := os.ReadFile(doc)
	if err != nil {
		return nil, err
	}
	_, line, found := strings.Cut(string(text), generateLine)
	if !found {
		return nil, fmt.Errorf("%s: no line %q", doc, generateLine)
	}
	line, _, _ = strings.Cut(line, "\n")
	args, err := words(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doc, err)
	}
	tool := exec.CommandContext(ctx, "go", "tool", "-n", "bpf2go")
	tool.Dir = root
	path, err := tool.Output()
	if err != nil {
		return nil, fmt.Errorf("find bpf2go: %w", err)
	}
	return &generator{strings.TrimSpace(string(path)), args}, nil
}

// words splits at spaces; a word in double quotes keeps its own.
func words(line string) ([]string, error) {
	var out []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			out, line = append(out, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("a quote in %q has no end", line)
		}
		word, _ := strconv.Unquote(quoted)
		out, line = append(out, word), line[len(quoted):]
	}
	return out, nil
}

// generate makes the products in dir, which holds the sources in src/.
func (g *generator) generate(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, g.path, g.args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPACKAGE="+programDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile: %w\n%s", err, out)
	}
	return nil
}

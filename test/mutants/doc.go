// SPDX-License-Identifier: Apache-2.0

// Command mutants breaks the compiler and the BPF programs on purpose, one
// line at a time, and asks whether the tests notice. A mutant that no test
// kills shows a line of the semantics that nothing holds in place.
//
// The list (list_*.go) names for each mutant its file, the fragment that is
// replaced, the line of the semantics that it breaks, and the tests that must
// fail. Sources are never touched: Go files are replaced with an overlay of
// the go command, the BPF object is built from a copy of bpf/src with the
// command in bpf/doc.go, and replaced the same way.
//
// A mutant that does not compile, or that the verifier refuses, is a fault of
// the list and not a success of the tests. The exit code is 1 if a mutant
// survives or cannot be used, 2 if nothing could be told.
//
// It may import the standard library alone. BPF mutants need root and clang.
package main

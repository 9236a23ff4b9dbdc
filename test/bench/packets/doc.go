// SPDX-License-Identifier: Apache-2.0

// Package packets measures what one packet costs in the programs that weir
// ships, over an empty program: in CPU time of BPF_PROG_TEST_RUN, by rounds in
// which all programs take their turn. Each case proves by weir's own counters
// and events that its packets were what it says.
//
// Beside them run programs that do nothing but the operations of the kernel
// that the case cannot do without (test/bench/floor).
//
// Where tuples change, a program of this package (src/feed.bpf.c) writes the
// next one into the packet and tail-calls the program that is measured.
//
// It needs root and Linux 6.6 (TCX). It may import everything of weir but
// agent and cmd.
package packets

//go:generate go tool bpf2go -cc clang-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -target bpfel Feed src/feed.bpf.c

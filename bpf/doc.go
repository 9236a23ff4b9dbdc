// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the eBPF programs (C sources in src/) and the Go types and
// loader that bpf2go generates from them. It is a leaf: it owns the layout of
// everything that crosses between kernel and user space, and imports nothing
// of weir.
//
// src/types.h is the one definition of those structs and enums; the Go types
// here are generated from its BTF and are the only Go types of them.
package bpf

//go:generate go tool bpf2go -cc clang-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -target bpfel -type direction -type side -type verdict -type reason -type mode -type endpoint_flag -type peer_flag -type flow_flag -type packet_mark -type event_kind -type ring -type action -type row_limit -type event Weir src/weir.bpf.c -- -Isrc

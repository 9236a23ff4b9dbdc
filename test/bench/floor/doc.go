// SPDX-License-Identifier: Apache-2.0

// Package floor has programs that do nothing but the operations of the kernel
// that keep a table of flows: the lookup, the counters or the entry, the event.
// No policy and no checks; those named "ruled" look up, besides, what a policy
// asks. Benchmarks run them beside weir's, to tell what of a
// figure is the kernel's.
package floor

//go:generate go tool bpf2go -cc clang-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -target bpfel -type flow_key -type flow Floor src/floor.bpf.c

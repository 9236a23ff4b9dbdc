// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// NetfilterPrograms says whether the running kernel has netfilter programs
// that read packets (Linux 6.4 with CONFIG_NETFILTER_BPF_LINK). If not, the
// program forward has to be taken out of the collection before it is loaded
// (WithoutForward). The error wraps ebpf.ErrNotSupported where the kernel lacks
// them.
func NetfilterPrograms() error {
	if err := features.HaveProgramType(ebpf.Netfilter); err != nil {
		return fmt.Errorf("netfilter programs (Linux 6.4, CONFIG_NETFILTER_BPF_LINK): %w", err)
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	var read *btf.Func
	if err := kernel.TypeByName("bpf_dynptr_from_skb", &read); err != nil {
		return fmt.Errorf("find bpf_dynptr_from_skb (Linux 6.4): %w", ebpf.ErrNotSupported)
	}
	return nil
}

// WithoutForward takes the programs that judge after translation out of a
// collection.
func WithoutForward(spec *ebpf.CollectionSpec) {
	delete(spec.Programs, WeirProgForward)
	delete(spec.Programs, WeirProgForwardMatch)
}

// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ConntrackLookup says whether the running kernel lets the programs look up
// connections (bpf_skb_ct_lookup, Linux 5.18, in the kernel or in the loaded
// module nf_conntrack). If it returns nil, have_conntrack may be set. The error
// wraps ebpf.ErrNotSupported where the kernel lacks it or has no BTF.
func ConntrackLookup() error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	err = findLookup(kernel)
	if !errors.Is(err, btf.ErrNotFound) {
		return err
	}
	module, err := btf.LoadKernelModuleSpec("nf_conntrack")
	if err == nil {
		err = findLookup(module)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, btf.ErrNotFound) {
		return fmt.Errorf("no bpf_skb_ct_lookup in the kernel or its module nf_conntrack; it needs Linux 5.18 and the module loaded: %w", ebpf.ErrNotSupported)
	}
	if err != nil {
		return fmt.Errorf("read the BTF of nf_conntrack: %w", err)
	}
	return nil
}

func findLookup(spec *btf.Spec) error {
	var lookup *btf.Func
	if err := spec.TypeByName("bpf_skb_ct_lookup", &lookup); err != nil {
		return fmt.Errorf("find bpf_skb_ct_lookup: %w", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// wantedModules are what tests use, as far as a kernel has them apart: links
// and their hooks, the overlays, and what kube-proxy and CNIs rely on.
func wantedModules() []string {
	return []string{
		"crc32c_generic", "veth", "bridge", "br_netfilter", "dummy", "macvlan", "ipvlan", "tun", "vxlan", "geneve", "fou", "netkit",
		"sch_ingress", "cls_bpf", "act_bpf", "cls_u32", "act_gact", "act_mirred", "sch_tbf", "sch_netem", "sch_fq",
		"nf_conntrack", "nf_conntrack_netlink", "nf_defrag_ipv4", "nf_defrag_ipv6", "nf_nat", "nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "nft_compat", "nfnetlink_hook",
		"ip_tables", "iptable_filter", "iptable_nat", "ip6_tables", "ip6table_filter", "xt_bpf", "xt_conntrack", "xt_MASQUERADE",
		"sctp",
	}
}

// Module is one that the guest loads.
type Module struct {
	Name    string
	Content []byte // the ELF object, not compressed
}

// tree is the directory of one kernel's modules. Debian makes modules.dep at
// installation, so what a module needs is read from the module itself.
type tree struct {
	paths   map[string]string // by name, as the kernel spells it
	builtin map[string]bool
}

func openTree(dir string) (*tree, error) {
	t := &tree{paths: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if name, ok := moduleName(path); ok {
				t.paths[name] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", dir, err)
	}
	// Newer packages have this file elsewhere: then a module that is built in
	// is told as absent.
	if list, err := os.ReadFile(filepath.Join(dir, "modules.builtin")); err == nil {
		for line := range strings.Lines(string(list)) {
			if name, ok := moduleName(strings.TrimSpace(line)); ok {
				t.builtin[name] = true
			}
		}
	}
	return t, nil
}

// moduleName is the name in a path that ends in .ko, .ko.xz, .ko.zst or .ko.gz.
func moduleName(path string) (string, bool) {
	name, suffix, ok := strings.Cut(filepath.Base(path), ".ko")
	if !ok || suffix != "" && !strings.HasPrefix(suffix, ".") {
		return "", false
	}
	return strings.ReplaceAll(name, "-", "_"), true
}

// collect gives the modules and all that they need, each after what it needs,
// and those of the names that are not there. What a module merely prefers
// (softdep) may be an alias, which is no file.
func (t *tree) collect(names []string) (modules []Module, absent []string, err error) {
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] || t.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := t.paths[name]
		if !ok {
			if slices.Contains(names, name) {
				absent = append(absent, name)
			}
			return nil
		}
		content, err := readModule(path)
		if err != nil {
			return err
		}
		needs, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("read module %s: %w", path, err)
		}
		for _, need := range needs {
			if err := add(need); err != nil {
				return err
			}
		}
		modules = append(modules, Module{name, content})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, nil, err
		}
	}
	return modules, absent, nil
}

// readModule unpacks with the programs that every Debian has or can have.
func readModule(path string) ([]byte, error) {
	program, ok := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(path)]
	if !ok {
		return os.ReadFile(path)
	}
	out, err := exec.Command(program, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack module %s (the program %s is needed): %w", path, program, err)
	}
	return out, nil
}

// dependencies are the names in the lines "depends=" and "softdep=pre:" of
// section .modinfo, which ends each line with a zero byte.
func dependencies(module []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok {
			names = append(names, strings.FieldsFunc(list, func(r rune) bool { return r == ',' })...)
		}
		if list, ok := strings.CutPrefix(line, "softdep=pre:"); ok {
			list, _, _ = strings.Cut(list, "post:")
			names = append(names, strings.Fields(list)...)
		}
	}
	for i, name := range names {
		names[i] = strings.ReplaceAll(name, "-", "_")
	}
	return names, nil
}

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// matchRules has the match of xt_bpf in tables of its own (ip weir, ip6 weir),
// by nf_tables' compatibility with xtables. Not in the FORWARD chain of the
// iptables commands: there any rule before it may accept, and legacy iptables
// hands the whole table back to the kernel with every change, which then opens
// the program's pin again, in the mount namespace of whoever makes the change.
// In kube-proxy's container there is no such file, and its changes would fail.
type matchRules struct{}

const (
	matchTable  = "weir"
	matchChain  = "forward"
	matchMarker = "weir program " // and the id, as comment of the rule
)

// xtBPF is struct xt_bpf_info_v1.
const (
	xtBPFSize = 528
	xtBPFByFD = 2 // XT_BPF_MODE_FD_ELF: the program is handed over as an fd
)

var matchFamilies = [...]uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// Attach replaces the rules of both families in one transaction.
func (matchRules) Attach(program *ebpf.Program, beside bool) error {
	id, err := programID(program)
	if err != nil {
		return err
	}
	ours, others, err := findRules(id)
	if err != nil || ours && (beside || others == 0) {
		return err
	}
	unmarked, err := loadUnmarked()
	if err != nil {
		return err
	}
	defer unmarked.Close() // the rules hold it
	var batch []message
	for _, family := range matchFamilies {
		batch = append(batch, makeChain(family, matchTable)...)
		if !beside {
			batch = append(batch, emptyChain(family))
		}
		batch = append(batch, makeRules(family, matchTable, matches{unmarked.FD(), program.FD()}, id)...)
	}
	return commit(batch)
}

// probeMatch tries everything once, in a transaction that leaves nothing.
func probeMatch() error {
	program, err := loadUnmarked()
	if err != nil {
		return err
	}
	defer program.Close()
	const probeTable = "weir-probe"
	var batch []message
	for _, family := range matchFamilies {
		batch = append(batch, makeChain(family, probeTable)...)
		batch = append(batch, makeRules(family, probeTable, matches{program.FD(), program.FD()}, 0)...)
		batch = append(batch, removeTable(family, probeTable))
	}
	return commit(batch)
}

func makeChain(family uint8, table string) []message {
	return []message{
		{"make table", unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family, []*nl.RtAttr{
			attrString(unix.NFTA_TABLE_NAME, table),
		}},
		{"make chain", unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, family, []*nl.RtAttr{
			attrString(unix.NFTA_CHAIN_TABLE, table),
			attrString(unix.NFTA_CHAIN_NAME, matchChain),
			nested(unix.NFTA_CHAIN_HOOK,
				attrNumber(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_FORWARD),
				attrNumber(unix.NFTA_HOOK_PRIORITY, forwardPriority)),
			attrString(unix.NFTA_CHAIN_TYPE, "filter"),
		}},
	}
}

func removeTable(family uint8, table string) message {
	return message{"remove table", unix.NFT_MSG_DELTABLE, 0, family, []*nl.RtAttr{attrString(unix.NFTA_TABLE_NAME, table)}}
}

func emptyChain(family uint8) message {
	return message{"empty chain", unix.NFT_MSG_DELRULE, 0, family, []*nl.RtAttr{
		attrString(unix.NFTA_RULE_TABLE, matchTable),
		attrString(unix.NFTA_RULE_CHAIN, matchChain),
	}}
}

// loadUnmarked loads a match of what from_pod has not marked as a pod's call
// to its node (bpf/src/calls.h).
func loadUnmarked() (*ebpf.Program, error) {
	const tcIndex = 44 // in struct __sk_buff of the kernel's user API
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weir_unmarked", Type: ebpf.SocketFilter, License: "Dual BSD/GPL", Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, tcIndex, asm.Word),
			asm.Mov.Imm(asm.R0, 0),
			asm.JEq.Imm(asm.R2, int32(bpf.WeirPacketMarkMARK_CALLS_NODE), "marked"),
			asm.Mov.Imm(asm.R0, 1),
			asm.Return().WithSymbol("marked"),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load a socket filter: %w", err)
	}
	return program, nil
}

// matches are the file descriptors of two programs.
type matches struct{ unmarked, judge int }

// makeRules: replies without the mark are accepted, and what the program
// matches is dropped. The first does not match what conntrack does not know,
// which is judged.
func makeRules(family uint8, table string, fds matches, id ebpf.ProgramID) []message {
	reply := nested(unix.NFTA_RULE_EXPRESSIONS,
		expression("ct",
			attrNumber(unix.NFTA_CT_DREG, unix.NFT_REG_1),
			attrNumber(unix.NFTA_CT_KEY, unix.NFT_CT_DIRECTION)),
		expression("cmp",
			attrNumber(unix.NFTA_CMP_SREG, unix.NFT_REG_1),
			attrNumber(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
			nested(unix.NFTA_CMP_DATA, attr(unix.NFTA_DATA_VALUE, []byte{1}))), // IP_CT_DIR_REPLY
		matchExpression(fds.unmarked),
		verdictExpression(nfAccept))
	judge := nested(unix.NFTA_RULE_EXPRESSIONS, matchExpression(fds.judge), verdictExpression(nfDrop))
	return []message{makeRule(family, table, "accept replies", reply, id), makeRule(family, table, "match by the program", judge, id)}
}

const (
	nfDrop   = 0
	nfAccept = 1
)

func makeRule(family uint8, table, name string, expressions *nl.RtAttr, id ebpf.ProgramID) message {
	return message{"make rule: " + name, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, family, []*nl.RtAttr{
		attrString(unix.NFTA_RULE_TABLE, table),
		attrString(unix.NFTA_RULE_CHAIN, matchChain),
		expressions,
		attr(unix.NFTA_RULE_USERDATA, ruleComment(id)),
	}}
}

// ruleComment is what `nft list` shows: a type (0), a length, and a string
// with its end.
func ruleComment(id ebpf.ProgramID) []byte {
	text := matchMarker + strconv.Itoa(int(id))
	return append([]byte{0, byte(len(text) + 1)}, append([]byte(text), 0)...)
}

func expression(name string, data ...*nl.RtAttr) *nl.RtAttr {
	return nested(unix.NFTA_LIST_ELEM, attrString(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, data...))
}

func matchExpression(fd int) *nl.RtAttr {
	info := make([]byte, xtBPFSize)
	binary.NativeEndian.PutUint16(info, xtBPFByFD)
	binary.NativeEndian.PutUint32(info[4:], uint32(fd))
	return expression("match",
		attrString(unix.NFTA_MATCH_NAME, "bpf"),
		attrNumber(unix.NFTA_MATCH_REV, 1),
		attr(unix.NFTA_MATCH_INFO, info))
}

func verdictExpression(code uint32) *nl.RtAttr {
	return expression("immediate",
		attrNumber(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nested(unix.NFTA_IMMEDIATE_DATA, nested(unix.NFTA_DATA_VERDICT, attrNumber(unix.NFTA_VERDICT_CODE, code))))
}

// Attached looks for the rules with this program's comment.
func (matchRules) Attached(program *ebpf.Program) (bool, error) {
	id, err := programID(program)
	if err != nil {
		return false, err
	}
	ours, _, err := findRules(id)
	return ours, err
}

// findRules says whether the rules of a program are there for both families,
// and counts the others in weir's chains.
func findRules(id ebpf.ProgramID) (ours bool, others int, err error) {
	ours = true
	for _, family := range matchFamilies {
		rules, err := listRules(family)
		if err != nil {
			return false, 0, err
		}
		found := 0
		for _, rule := range rules {
			if bytes.Contains(rule, ruleComment(id)) {
				found++
			}
		}
		ours = ours && found == 2
		others += len(rules) - found
	}
	return ours, others, nil
}

// listRules gives the rules as the kernel sends them; none where there is no
// such table.
func listRules(family uint8) ([][]byte, error) {
	table, chain := attrString(unix.NFTA_RULE_TABLE, matchTable), attrString(unix.NFTA_RULE_CHAIN, matchChain)
	rules, err := dump(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, family, table, chain)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return rules, err
}

// Detach removes the tables. Another table of that name is left alone.
func (matchRules) Detach() error {
	for _, family := range matchFamilies {
		rules, err := listRules(family)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) {
			continue // a kernel without nf_tables
		}
		if err != nil {
			return fmt.Errorf("list the rules of table %s: %w", matchTable, err)
		}
		for _, rule := range rules {
			if !bytes.Contains(rule, []byte(matchMarker)) {
				continue
			}
			if err := commit([]message{removeTable(family, matchTable)}); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

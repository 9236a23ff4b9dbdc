// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// TestLoopsAreClosedByJumps finds what Linux 5.10 refuses and newer kernels
// do not: a loop whose last instruction falls into its first one, or calls and
// returns to it ("back-edge from insn 2088 to 2089"). The compiler lays a loop
// out so whenever it likes, after any change of the source.
func TestLoopsAreClosedByJumps(t *testing.T) {
	spec, err := LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range spec.Programs {
		g := newGraph(program.Instructions)
		g.walk(0)
		for _, at := range g.refused {
			t.Errorf("%s: %s falls into the head of its loop: instruction %d %v", name, g.function[at], at, g.instructions[at])
		}
		if len(g.state) < len(program.Instructions)/2 {
			t.Errorf("%s: walked %d of %d instructions", name, len(g.state), len(program.Instructions))
		}
	}
}

// A loop of each kind, so that the test above is known to be able to fail.
func TestLoopsAreFound(t *testing.T) {
	step := func(label string) asm.Instruction { return asm.Add.Imm(asm.R1, 1).WithSymbol(label) }
	for _, row := range []struct {
		name    string
		program asm.Instructions
		refused int
	}{
		{"closed by a jump", asm.Instructions{step("head"), asm.JLT.Imm(asm.R1, 9, "head"), asm.Return()}, 0},
		{"falls into its head", asm.Instructions{asm.Ja.Label("head"), asm.Add.Imm(asm.R2, 1).WithSymbol("tail"), step("head"), asm.JLT.Imm(asm.R1, 9, "tail"), asm.Return()}, 1},
		{"returns to its head", asm.Instructions{asm.Ja.Label("head"), asm.FnJiffies64.Call().WithSymbol("tail"), step("head"), asm.JLT.Imm(asm.R1, 9, "tail"), asm.Return()}, 1},
	} {
		g := newGraph(row.program)
		g.walk(0)
		if len(g.refused) != row.refused {
			t.Errorf("%s: refused %v, want %d", row.name, g.refused, row.refused)
		}
	}
}

type visit uint8

const (
	open visit = iota + 1 // on the way to the instruction at hand
	done
)

// graph is keyed by raw offset, in units of 8 bytes.
type graph struct {
	instructions map[int]asm.Instruction
	width        map[int]int
	symbols      map[string]int
	function     map[int]string
	state        map[int]visit
	refused      []int
}

func newGraph(program asm.Instructions) *graph {
	g := &graph{map[int]asm.Instruction{}, map[int]int{}, map[string]int{}, map[int]string{}, map[int]visit{}, nil}
	name := ""
	for it := program.Iterate(); it.Next(); {
		at := int(it.Offset)
		if symbol := it.Ins.Symbol(); symbol != "" {
			name = symbol
			g.symbols[symbol] = at
		}
		g.instructions[at], g.width[at], g.function[at] = *it.Ins, int(it.Ins.Size()/asm.InstructionSize), name
	}
	return g
}

// walk is depth first, as the kernel's check_cfg.
func (g *graph) walk(at int) {
	g.state[at] = open
	instruction, next := g.instructions[at], at+g.width[at]
	switch op := instruction.OpCode.JumpOp(); {
	case op == asm.Exit:
	case instruction.IsFunctionCall():
		g.edge(at, next, false)
		g.edge(at, g.symbols[instruction.Reference()], false)
	case op == asm.Ja:
		g.edge(at, g.target(at, instruction), true)
	case op != asm.InvalidJumpOp && op != asm.Call:
		g.edge(at, next, true)
		g.edge(at, g.target(at, instruction), true)
	default:
		g.edge(at, next, false)
	}
	g.state[at] = done
}

func (g *graph) edge(from, to int, jump bool) {
	if g.state[to] == open && !jump {
		g.refused = append(g.refused, from)
	}
	if g.state[to] == 0 {
		g.walk(to)
	}
}

func (g *graph) target(at int, jump asm.Instruction) int {
	if to, ok := g.symbols[jump.Reference()]; ok {
		return to
	}
	return at + 1 + int(jump.Offset)
}

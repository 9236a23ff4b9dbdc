// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Linux 5.10 refuses a test run whose context has an ingress_ifindex. There the
// value goes in by the field mark, which the programs do not use, and their
// reads of ingress_ifindex are turned into reads of it. All else of the
// programs stays as it is.
const offsetMark = 8

// placeOfIngress is the offset in the context that test runs take for
// ingress_ifindex.
func placeOfIngress() (int, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return 0, fmt.Errorf("load a program for a test run: %w", err)
	}
	defer p.Close()
	run := func(at int) error {
		_, err := p.Run(&ebpf.RunOptions{Data: make([]byte, longestRefused), Context: Context{Ingress: 1}.bytes(at), Repeat: 1})
		return err
	}
	err = run(offsetIngress)
	if errors.Is(err, unix.EINVAL) {
		return offsetMark, run(offsetMark)
	}
	return offsetIngress, err
}

// readIngressAt turns each read of ingress_ifindex into one of the field at
// offset. Offset 36 is a field of other structs too, so the source line, which
// the object carries, decides. Other kinds of programs are not run here.
func readIngressAt(offset int, p *ebpf.ProgramSpec) error {
	if offset == offsetIngress || p.Type != ebpf.SchedCLS {
		return nil
	}
	line, changed := "", 0
	for i := range p.Instructions {
		instruction := &p.Instructions[i]
		if source := instruction.Source(); source != nil {
			line = source.String()
		}
		if instruction.OpCode == asm.LoadMemOp(asm.Word) && instruction.Offset == offsetIngress && strings.Contains(line, "ingress_ifindex") {
			instruction.Offset = int16(offset)
			changed++
		}
	}
	if changed == 0 {
		return fmt.Errorf("%s: no read of ingress_ifindex found to turn", p.Name)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Command guest is the init of a kernel test's guest: it makes the machine
// ready, runs the programs of the plan one by one, tells how each ended on the
// second serial port, and powers off. The first serial port is the kernel's
// own, so that no message of the kernel stands within a line of a test.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/kernel/plan"
)

const serialPort = "/dev/ttyS1"

func main() {
	defer powerOff()
	if err := mountAll(); err != nil {
		fmt.Fprintln(os.Stderr, plan.Mark+err.Error())
		return
	}
	port, err := os.OpenFile(serialPort, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, plan.Mark+err.Error())
		return
	}
	defer drain(port)
	if err := work(&lines{w: port}); err != nil {
		fmt.Fprintln(port, plan.Mark+err.Error())
	}
}

// work goes on after a module or a program that fails: each is told, and the
// host decides.
func work(out *lines) error {
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read the plan %s: %w", plan.Path, err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	out.say(plan.Mark + "kernel " + unix.ByteSliceToString(name.Release[:]))
	if err := prepare(); err != nil {
		return err
	}
	for _, path := range p.Modules {
		if err := loadModule(path); err != nil {
			out.say(plan.Mark + err.Error())
		}
	}
	for _, name := range p.Absent {
		out.say(plan.Mark + "this kernel has no module " + name)
	}
	for _, program := range p.Programs {
		out.say(plan.Began(program.Name))
		out.say(plan.Ended(run(program, out)))
	}
	out.say(plan.Done(len(p.Programs)))
	return nil
}

// lines keeps its own lines apart from the end of a program's output.
type lines struct {
	w      io.Writer
	within bool // a line has begun
}

func (l *lines) Write(b []byte) (int, error) {
	if len(b) > 0 {
		l.within = b[len(b)-1] != '\n'
	}
	return l.w.Write(b)
}

func (l *lines) say(line string) {
	if l.within {
		line = "\n" + line
	}
	l.within = false
	// Nobody is left to tell if the port fails: the host then misses the line.
	_, _ = fmt.Fprintln(l.w, line)
}

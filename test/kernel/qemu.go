// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Guest is one boot of a kernel.
type Guest struct {
	Kernel    string // path of vmlinuz
	Initramfs string
	Console   string // file for what the kernel prints
	CPUs      int
	MemoryMB  int
}

// commandLine keeps the kernel from what costs time in an emulated machine,
// and from calling a slow one hung. A panic ends QEMU by -no-reboot.
const commandLine = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nowatchdog nosoftlockup " +
	"rcupdate.rcu_cpu_stall_suppress=1 random.trust_cpu=on"

// processor is all that QEMU can emulate, without cmpxchg16b: after one, QEMU 7.2
// was seen to come back with half of RAX in EFLAGS, a double fault in the
// slab allocator of 6.12. Kernels do without the instruction.
const processor = "max,cx16=off"

func (g Guest) arguments() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", processor, "-smp", fmt.Sprint(g.CPUs), "-m", fmt.Sprint(g.MemoryMB),
		"-kernel", g.Kernel, "-initrd", g.Initramfs, "-append", commandLine,
		"-chardev", "file,id=kernel,path=" + g.Console, "-serial", "chardev:kernel",
		"-chardev", "stdio,id=tests,signal=off", "-serial", "chardev:tests",
	}
}

// Run boots, hands each line of the second serial port to line, and returns
// when QEMU has ended. If ctx ends first, QEMU is killed. It also ends with the
// thread that started it, so that a killed test leaves no machine running.
func (g Guest) Run(ctx context.Context, line func(string)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread must outlive QEMU
		defer runtime.UnlockOSThread()
		done <- g.run(ctx, line)
	}()
	return <-done
}

func (g Guest) run(ctx context.Context, line func(string)) error {
	command := exec.CommandContext(ctx, "qemu-system-x86_64", g.arguments()...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.WaitDelay = 5 * time.Second
	var problems strings.Builder
	command.Stderr = &problems
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w; install Debian's package qemu-system-x86", err)
	}
	readErr := eachLine(out, line)
	err = command.Wait()
	if late := ctx.Err(); late != nil {
		return fmt.Errorf("QEMU was killed: %w", late)
	}
	if err != nil {
		return fmt.Errorf("QEMU: %w: %s", err, strings.TrimSpace(problems.String()))
	}
	return readErr
}

// eachLine cuts at line ends. The guest's terminal puts a return before each.
func eachLine(from io.Reader, line func(string)) error {
	reader := bufio.NewReader(from)
	for {
		text, err := reader.ReadString('\n')
		if text = strings.TrimRight(text, "\r\n"); text != "" || err == nil {
			line(text)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the guest: %w", err)
		}
	}
}

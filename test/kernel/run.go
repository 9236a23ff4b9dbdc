// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/test/kernel/plan"
)

// Options of a run over kernels. Times are of this machine's clock.
type Options struct {
	Root     string        // folder of the module
	Work     string        // empty folder for binaries and images
	Logs     string        // folder for what guests and kernels print
	Packages []string      // those with tests
	Match    string        // regular expression of tests to run; "": all
	Limit    time.Duration // of one program; a guest has it for all of its programs
	CPUs     int
	MemoryMB int
}

// Defaults fills in what is not set.
func (o *Options) Defaults() {
	if o.Limit == 0 {
		o.Limit = 15 * time.Minute
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 3072
	}
}

// Validate has an error for each option that cannot work.
func (o *Options) Validate() error {
	var errs []error
	for name, dir := range map[string]string{"root": o.Root, "work": o.Work, "logs": o.Logs} {
		if !filepath.IsAbs(dir) {
			errs = append(errs, fmt.Errorf("folder %s %q: give an absolute path", name, dir))
		}
	}
	if len(o.Packages) == 0 {
		errs = append(errs, errors.New("no package to test"))
	}
	if o.Limit < 0 || o.CPUs < 1 || o.MemoryMB < 512 {
		errs = append(errs, fmt.Errorf("limit %s, %d CPUs, %d MB: want a limit above 0, a CPU and 512 MB", o.Limit, o.CPUs, o.MemoryMB))
	}
	return errors.Join(errs...)
}

// Runner has the programs that every guest runs.
type Runner struct {
	options Options
	init    string
	tests   []testBinary
}

// NewRunner builds the programs.
func NewRunner(ctx context.Context, o Options) (*Runner, error) {
	o.Defaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("run on kernels: %w", err)
	}
	if err := os.MkdirAll(o.Logs, 0o755); err != nil {
		return nil, fmt.Errorf("run on kernels: %w", err)
	}
	r := &Runner{options: o}
	var err error
	if r.init, r.tests, err = build(ctx, o.Root, o.Work, o.Packages); err != nil {
		return nil, fmt.Errorf("build for the guest: %w", err)
	}
	return r, nil
}

// Boot runs the programs on one kernel. line gets each line of the guest. The
// report holds what came, also if there is an error.
func (r *Runner) Boot(ctx context.Context, name string, image Image, line func(string)) (*Report, error) {
	report := &Report{}
	initramfs := filepath.Join(r.options.Work, name+".cpio")
	if err := r.pack(initramfs, image); err != nil {
		return report, fmt.Errorf("make the initramfs for %s: %w", image.Version, err)
	}
	log, err := os.Create(r.log(name))
	if err != nil {
		return report, fmt.Errorf("log of %s: %w", name, err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, r.options.Limit)
	defer cancel()
	guest := Guest{Kernel: image.Kernel, Initramfs: initramfs, Console: r.Console(name), CPUs: r.options.CPUs, MemoryMB: r.options.MemoryMB}
	var logErr error
	err = guest.Run(ctx, func(text string) {
		if _, err := fmt.Fprintln(log, text); err != nil {
			logErr = err
		}
		report.Add(text)
		line(text)
	})
	return report, errors.Join(err, logErr)
}

// measuring are tests that tell what a packet costs, which means nothing on an
// emulated processor. TestEntryCosts is not among them: it looks at bytes.
const measuring = "Cost$"

// Console is the file of what the kernel printed.
func (r *Runner) Console(name string) string {
	return filepath.Join(r.options.Logs, name+"-kernel.log")
}

func (r *Runner) log(name string) string { return filepath.Join(r.options.Logs, name+"-tests.log") }

func (r *Runner) pack(path string, image Image) error {
	modules, err := openTree(image.Modules)
	if err != nil {
		return err
	}
	loaded, absent, err := modules.collect(wantedModules())
	if err != nil {
		return err
	}
	p := plan.Plan{Absent: absent}
	for _, m := range loaded {
		p.Modules = append(p.Modules, "/"+moduleFile(m.Name))
	}
	for _, b := range r.tests {
		p.Programs = append(p.Programs, r.program(b.pkg))
	}
	return writeInitramfs(path, r.options.Root, r.init, r.tests, p, loaded)
}

func (r *Runner) program(pkg string) plan.Program {
	p := plan.Program{
		Name: pkg, Path: "/" + testFile(pkg), Dir: "/" + module + "/" + pkg, Limit: r.options.Limit,
		// A test that hangs then prints its goroutines.
		Args: []string{"-test.v", "-test.count=1", "-test.timeout=" + (r.options.Limit * 3 / 4).String(), "-test.skip=" + measuring},
		Env:  []string{"WEIR_KERNEL_TESTS=1", "HOME=/root", "TMPDIR=/tmp", "PATH=/bin", "GOTRACEBACK=all"},
	}
	if r.options.Match != "" {
		p.Args = append(p.Args, "-test.run="+r.options.Match)
	}
	return p
}

func encode(p plan.Plan) ([]byte, error) { return json.MarshalIndent(p, "", "  ") }

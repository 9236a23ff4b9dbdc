// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	kernels  = flag.String("kernels", "5.10 6.1 6.12 newest", "kernels to boot")
	programs = flag.String("programs", "", "packages to test, by their folders; all if empty")
	match    = flag.String("tests", "", "regular expression of the tests to run in the guest; all if empty")
	limit    = flag.Duration("limit", time.Hour, "time for one kernel")
	cache    = flag.String("cache", "", "directory of unpacked kernels and logs (default weir/kernels below the user's cache directory)")
	mirror   = flag.String("mirror", "", "URL of a Debian archive (default the one of this machine's apt)")
	refresh  = flag.Bool("refresh", false, "download the kernels again")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// TestKernels boots. It is not part of a plain go test: it takes minutes, and
// downloads kernels.
func TestKernels(t *testing.T) {
	if os.Getenv("WEIR_BOOT_KERNELS") == "" {
		t.Skip("boots kernels: make test-kernels")
	}
	for _, program := range []string{"qemu-system-x86_64", "apt-get", "dpkg-deb", "xz"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: run this on Debian, by make test-kernels", err)
		}
	}
	releases, err := Choose(*kernels)
	if err != nil {
		t.Fatal(err)
	}
	runner, options := newRunner(t)
	archive := Archive{Mirror: *mirror, Cache: cacheDir(t)}
	reports := map[string]*Report{}
	var names []string
	for _, release := range releases {
		names = append(names, release.Name)
		t.Run(release.Name, func(t *testing.T) {
			image, err := archive.Fetch(t.Context(), release, *refresh)
			if err != nil {
				t.Fatal(err)
			}
			reports[release.Name] = boot(t, runner, release.Name, image, options.Packages)
		})
	}
	fmt.Println()
	if err := WriteResults(os.Stdout, names, reports); err != nil {
		t.Error(err)
	}
	fmt.Println()
	if err := WriteFeatures(os.Stdout, names, reports); err != nil {
		t.Error(err)
	}
}

func newRunner(t *testing.T) (*Runner, Options) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Root: root, Work: t.TempDir(), Logs: filepath.Join(cacheDir(t), "logs"), Match: *match, Limit: *limit}
	wanted := strings.FieldsFunc(*programs, func(r rune) bool { return r == ' ' || r == ',' })
	if len(wanted) == 0 {
		for _, pkg := range packages() {
			if hasTests(root, pkg) {
				wanted = append(wanted, pkg)
			}
		}
	}
	options.Packages = wanted
	runner, err := NewRunner(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return runner, options
}

func cacheDir(t *testing.T) string {
	t.Helper()
	if *cache != "" {
		return *cache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("%v: give a directory with -cache", err)
	}
	return filepath.Join(dir, "weir", "kernels")
}

// boot prints the guest's lines as they come, without the tests that begin or
// pass, which the log has too.
func boot(t *testing.T, runner *Runner, name string, image Image, want []string) *Report {
	t.Helper()
	fmt.Printf("%s: boot %s; all output: %s\n", name, image.Version, runner.log(name))
	start := time.Now()
	report, err := runner.Boot(t.Context(), name, image, func(line string) {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- PASS") || strings.Contains(text, FeatureMark) {
			return
		}
		fmt.Printf("%s| %s\n", name, line)
	})
	fmt.Printf("%s: ended after %s\n", name, time.Since(start).Round(time.Second))
	if err != nil {
		t.Error(err)
	}
	for _, err := range report.Check(want) {
		t.Error(err)
	}
	console, err := os.ReadFile(runner.Console(name))
	if err != nil {
		t.Error(err)
	}
	for _, line := range Complaints(string(console)) {
		t.Errorf("the kernel says: %s", line)
	}
	if len(report.Check(want)) > 0 && report.Kernel == "" {
		t.Errorf("the guest did not begin; the kernel's last words:\n%s", tail(string(console), 30))
	}
	for _, p := range report.Programs {
		for _, skip := range p.Skips {
			fmt.Printf("%s: %s skipped %s\n", name, p.Name, skip)
		}
	}
	return report
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	keyring     = "/usr/share/keyrings/debian-archive-keyring.gpg"
	metaPackage = "linux-image-cloud-amd64"
)

// kernelPackage is what belongs to a kernel: one package up to trixie, image,
// binary and modules apart since.
var kernelPackage = regexp.MustCompile(`^linux-(image|binary|modules)-[0-9].*-cloud-amd64$`)

// Archive downloads kernels from a Debian mirror.
type Archive struct {
	Mirror string // URL of a Debian archive; "": the one that this machine's apt uses
	Cache  string // directory for unpacked kernels
}

// Image is an unpacked kernel.
type Image struct {
	Version string // as uname -r says
	Kernel  string // path of vmlinuz
	Modules string // directory of the module tree
}

// Fetch gives the kernel of a release: the one in the cache, unless refresh
// asks for what the mirror has today.
func (a Archive) Fetch(ctx context.Context, r Release, refresh bool) (Image, error) {
	dir := filepath.Join(a.Cache, r.Name)
	if !refresh {
		if image, err := findImage(dir); err == nil {
			return image, nil
		}
	}
	if err := os.MkdirAll(a.Cache, 0o755); err != nil {
		return Image{}, fmt.Errorf("cache of kernels: %w", err)
	}
	fresh, err := os.MkdirTemp(a.Cache, r.Name+".new-*")
	if err != nil {
		return Image{}, fmt.Errorf("cache of kernels: %w", err)
	}
	err = a.download(ctx, r, fresh)
	if err == nil {
		_, err = findImage(fresh)
	}
	// The old one stays until the new one is whole.
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.Rename(fresh, dir))
	}
	if err != nil {
		return Image{}, errors.Join(fmt.Errorf("fetch kernel %s: %w", r.Name, err), os.RemoveAll(fresh))
	}
	return findImage(dir)
}

// findImage looks where Debian's packages have kernel and modules: in /boot
// and /lib/modules, or in /usr/lib/modules both.
func findImage(dir string) (Image, error) {
	for _, place := range []string{"root/lib/modules/*/kernel", "root/usr/lib/modules/*/kernel"} {
		found, err := filepath.Glob(filepath.Join(dir, place))
		if err != nil || len(found) == 0 {
			continue
		}
		image := Image{Modules: filepath.Dir(found[0])}
		image.Version = filepath.Base(image.Modules)
		for _, image.Kernel = range []string{filepath.Join(dir, "root/boot/vmlinuz-"+image.Version), filepath.Join(image.Modules, "vmlinuz")} {
			if _, err := os.Stat(image.Kernel); err == nil {
				return image, nil
			}
		}
	}
	return Image{}, fmt.Errorf("no kernel with modules in %s", dir)
}

// download fills dir: apt's state, the packages, and what is in them.
func (a Archive) download(ctx context.Context, r Release, dir string) error {
	mirror := a.Mirror
	if mirror == "" {
		var err error
		if mirror, err = ownMirror(ctx); err != nil {
			return err
		}
	}
	apt, err := newApt(filepath.Join(dir, "apt"), mirror, r.Suite)
	if err != nil {
		return err
	}
	if _, err := apt.run(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	packages, err := apt.kernelPackages(ctx)
	if err != nil {
		return err
	}
	// apt checks each file against the signed index.
	if _, err := apt.run(ctx, "apt-get", append([]string{"download", "-qq"}, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(apt.dir, "*.deb"))
	if err != nil || len(files) < len(packages) {
		return fmt.Errorf("apt downloaded %d files for %v", len(files), packages)
	}
	for _, file := range files {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", file, filepath.Join(dir, "root")).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", file, err, bytes.TrimSpace(out))
		}
	}
	return os.RemoveAll(apt.dir)
}

// ownMirror asks apt for the archive that this machine installs from.
func ownMirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its sources (a Debian machine is needed): %w", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "main" && !strings.Contains(fields[1], "security") {
			return fields[0], nil
		}
	}
	return "", errors.New("apt has no source with a component main: give the URL of a Debian archive with -mirror")
}

// apt is apt with one suite, and with nothing of the machine's own state.
type apt struct {
	dir     string
	options []string
}

func newApt(dir, mirror, suite string) (apt, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return apt{}, err
		}
	}
	// An old suite's Release is out of date and its signature still good.
	source := fmt.Sprintf("deb [arch=amd64 target=Packages check-valid-until=no signed-by=%s] %s %s main\n", keyring, mirror, suite)
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(dir, "status"), nil, 0o644))
	a := apt{dir: dir}
	for _, option := range [][2]string{
		{"APT::Architecture", "amd64"},
		{"APT::Sandbox::User", "root"}, // apt's own user cannot write here
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		{"Dir::Etc::SourceList", filepath.Join(dir, "sources.list")},
		{"Dir::Etc::SourceParts", "/dev/null"},
		{"Dir::State", dir},
		{"Dir::State::Lists", filepath.Join(dir, "lists")},
		{"Dir::State::Status", filepath.Join(dir, "status")},
		{"Dir::Cache", filepath.Join(dir, "cache")},
	} {
		a.options = append(a.options, "-o", option[0]+"="+option[1])
	}
	return a, err
}

func (a apt) run(ctx context.Context, name string, arguments ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, name, append(slices.Clone(a.options), arguments...)...)
	command.Dir = a.dir
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, bytes.TrimSpace(problems.Bytes()))
	}
	return out, nil
}

// kernelPackages are the packages of the kernel that the suite's meta package
// depends on.
func (a apt) kernelPackages(ctx context.Context) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "depends", "--recurse", "--important", metaPackage)
	if err != nil {
		return nil, err
	}
	var packages []string
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(line, " ") && kernelPackage.MatchString(name) {
			packages = append(packages, name)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("the suite's %s depends on no kernel", metaPackage)
	}
	return packages, nil
}

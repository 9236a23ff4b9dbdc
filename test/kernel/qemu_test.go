// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// emulator puts a script in QEMU's place.
func emulator(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestGuestThatHangsIsEnded(t *testing.T) {
	emulator(t, "echo $$; exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	pid := 0
	err := Guest{}.Run(ctx, func(line string) {
		var err error
		if pid, err = strconv.Atoi(line); err != nil {
			t.Error(err)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestGuestThatDoesNotStart(t *testing.T) {
	emulator(t, "echo 'no such machine' >&2; exit 1")
	err := Guest{}.Run(t.Context(), func(line string) { t.Errorf("line %q", line) })
	if err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("%v, want QEMU's own words", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = Guest{}.Run(t.Context(), func(line string) { t.Errorf("line %q", line) })
	if err == nil || !strings.Contains(err.Error(), "install") {
		t.Errorf("%v, want what to install", err)
	}
}

func TestFindImage(t *testing.T) {
	for name, row := range map[string]struct {
		files  []string
		kernel string // "": none found
	}{
		"up to trixie":  {[]string{"root/boot/vmlinuz-6.1", "root/lib/modules/6.1/kernel/a.ko"}, "root/boot/vmlinuz-6.1"},
		"merged /usr":   {[]string{"root/boot/vmlinuz-6.1", "root/usr/lib/modules/6.1/kernel/a.ko"}, "root/boot/vmlinuz-6.1"},
		"since forky":   {[]string{"root/usr/lib/modules/7.2/vmlinuz", "root/usr/lib/modules/7.2/kernel/a.ko"}, "root/usr/lib/modules/7.2/vmlinuz"},
		"no kernel":     {[]string{"root/lib/modules/6.1/kernel/a.ko"}, ""},
		"no modules":    {[]string{"root/boot/vmlinuz-6.1"}, ""},
		"another's one": {[]string{"root/boot/vmlinuz-6.2", "root/lib/modules/6.1/kernel/a.ko"}, ""},
	} {
		dir := t.TempDir()
		for _, file := range row.files {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		image, err := findImage(dir)
		if row.kernel == "" {
			if err == nil {
				t.Errorf("%s: found %+v", name, image)
			}
			continue
		}
		if err != nil || image.Kernel != filepath.Join(dir, row.kernel) || image.Version != filepath.Base(image.Modules) {
			t.Errorf("%s: %+v, %v", name, image, err)
		}
	}
}

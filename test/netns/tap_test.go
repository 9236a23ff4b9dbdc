// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTap(t *testing.T) {
	requireRoot(t)
	n, err := NewNode("nstap", Options{})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	pod, err := n.AddPod("pod")
	must(t, err)

	inside, err := pod.Tap("eth0")
	must(t, err)
	defer func() { must(t, inside.Close()) }()
	outside, err := n.Tap(pod.Ifname)
	must(t, err)
	defer func() { must(t, outside.Close()) }()
	if !bytes.Equal(inside.MAC(), pod.MAC) || !bytes.Equal(outside.MAC(), pod.HostMAC) {
		t.Errorf("MAC addresses %s and %s, want %s and %s", inside.MAC(), outside.MAC(), pod.MAC, pod.HostMAC)
	}
	frame := append(bytes.Join([][]byte{outside.MAC(), inside.MAC(), {0x88, 0xb5}}, nil), bytes.Repeat([]byte("weir"), 300)...)
	must(t, inside.Send(frame))
	seen := func(tap *Tap) (n int) {
		must(t, tap.Drain(func(data []byte, length int) {
			if length == len(frame) && bytes.Equal(data, frame) {
				n++
			}
		}))
		return n
	}
	deadline := time.Now().Add(3 * time.Second)
	for seen(outside) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the frame does not arrive")
		}
		WaitTaps([]*Tap{outside}, 10*time.Millisecond)
	}
	if seen(inside) != 0 {
		t.Error("the sender sees its own frame")
	}
	if seen(outside) != 0 {
		t.Error("the frame is seen twice")
	}
}

// What cannot be opened says where, and leaves no socket.
func TestTapThatCannotBe(t *testing.T) {
	requireRoot(t)
	n, err := NewNode("nstap", Options{})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	before, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if _, err := n.Tap("nowhere"); err == nil || !bytes.Contains([]byte(err.Error()), []byte("nowhere of nstap-node")) {
		t.Errorf("no such interface: %v", err)
	}
	tap, err := n.TapDelivered(unix.AF_INET, -1)
	if err == nil {
		t.Error("protocol -1: no error")
	}
	must(t, tap.Close())
	must(t, (*Tap)(nil).Close())
	after, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if len(after) != len(before) {
		t.Errorf("%d files are open, and were %d", len(after), len(before))
	}
}

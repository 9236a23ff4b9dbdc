// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		values []int
		want   int
	}{{nil, 0}, {[]int{3}, 3}, {[]int{9, 1, 5}, 5}, {[]int{4, 3, 2, 1}, 3}} {
		if got := Median(row.values); got != row.want {
			t.Errorf("median of %v is %d, want %d", row.values, got, row.want)
		}
	}
}

// The interval holds the true median in about 95 of 100 samples.
func TestMedianInterval(t *testing.T) {
	const seed, samples = 7, 2000
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	for _, size := range []int{30, 100} {
		held := 0
		for range samples {
			values := make([]float64, size)
			for i := range values {
				values[i] = random.ExpFloat64() // its median is ln 2
			}
			if low, high := MedianInterval(values); low <= 0.6931 && 0.6931 <= high {
				held++
			}
		}
		if share := float64(held) / samples; share < 0.94 || share > 0.99 {
			t.Errorf("of %d values: the interval holds the median in %.3f of the samples, want 0.95 or a little more", size, share)
		}
	}
	if low, high := MedianInterval([]float64{3, 1, 2}); low != 1 || high != 3 {
		t.Errorf("interval of three values is %v to %v, want all of them", low, high)
	}
}

func TestDistribute(t *testing.T) {
	var list []time.Duration
	for i := range 200 {
		list = append(list, time.Duration(199-i)*time.Millisecond)
	}
	for _, row := range []struct {
		list []time.Duration
		want Distribution
	}{
		{nil, Distribution{}},
		{[]time.Duration{1500 * time.Microsecond}, Distribution{Count: 1, P50Ms: 1.5, P90Ms: 1.5, P99Ms: 1.5, MaxMs: 1.5}},
		{list, Distribution{Count: 200, P50Ms: 100, P90Ms: 180, P99Ms: 198, MaxMs: 199}},
	} {
		if got := Distribute(row.list); got != row.want {
			t.Errorf("%d values: %+v, want %+v", len(row.list), got, row.want)
		}
	}
	if list[0] != 199*time.Millisecond {
		t.Error("the list was sorted in place")
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := Load[[]Packet](dir, PacketsFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{PacketsFile, SpreadFile} {
		if err := Save(dir, name, []Packet{{Program: "from_pod", Rows: 7}}, Run{Commit: name}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Load[[]Packet](dir, SpreadFile)
	if err != nil || len(list) != 1 || list[0].Rows != 7 {
		t.Errorf("read %v, %v", list, err)
	}
	runs, err := Load[map[string]Run](dir, RunsFile)
	if err != nil || runs[PacketsFile].Commit != PacketsFile || runs[SpreadFile].Commit != SpreadFile {
		t.Errorf("read runs %v, %v: want both", runs, err)
	}
	if err := os.WriteFile(filepath.Join(dir, RunsFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, PacketsFile, list, Run{}); err == nil || !strings.Contains(err.Error(), RunsFile) {
		t.Errorf("broken %s: %v, want an error that names it", RunsFile, err)
	}
}

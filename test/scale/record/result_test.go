// SPDX-License-Identifier: Apache-2.0

package record

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/scale/load"
)

func TestQuantiles(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[(i*37)%100] = time.Duration(i+1) * time.Millisecond
	}
	for _, row := range []struct {
		samples []time.Duration
		want    Quantiles
	}{
		{nil, Quantiles{}},
		{[]time.Duration{2 * time.Millisecond}, Quantiles{1, 2, 2, 2, 2}},
		{hundred, Quantiles{100, 50, 90, 99, 100}},
		{hundred[:0:0], Quantiles{}},
		{append(hundred, time.Second), Quantiles{101, 51, 91, 100, 1000}},
	} {
		if got := QuantilesOf(row.samples); got != row.want {
			t.Errorf("quantiles of %d samples: %+v, want %+v", len(row.samples), got, row.want)
		}
	}
}

func example() Result {
	return Result{
		Plan:  load.Defaults(),
		Bare:  Rest{Seconds: 10},
		Rest:  Rest{Seconds: 10},
		Churn: Churn{Churned: load.Churned{Created: 200, Deleted: 200, Seconds: 10}, CPU: 4.99, Memory: Memory{ResidentPeak: 149e6}, Added: Quantiles{Count: 100, P99: 9.99}, Writes: map[string]float64{`map="peers",operation="write"`: 400}},
		Clients: Clients{Count: 200, ListBytes: 25e6, ListCPU: 0.25, Phases: []Phase{
			{Clients: 0, Rate: 0, Seconds: 10, APICPU: 2}, {Clients: 0, Rate: 20, Seconds: 10, APICPU: 40},
			{Clients: 200, Rate: 0, Seconds: 10, APICPU: 3}, {Clients: 200, Rate: 20, Seconds: 10, APICPU: 90, Bytes: 300e3},
		}},
	}
}

func TestPage(t *testing.T) {
	good := example()
	slow, fat, late := example(), example(), example()
	slow.Churn.CPU, fat.Churn.Memory.ResidentPeak, late.Churn.Added.P99 = 5, 150e6, 10
	none := example()
	none.Clients = Clients{}
	for _, row := range []struct {
		name   string
		result Result
		want   []string
		missed int
	}{
		{"all met", good, []string{"| met |", "| entries, map=peers,operation=write | 400 | 40.0 |", "| CPU of a core, at rest | 0.005 % | 0.1 cores |", "| CPU of a core, churn of 20 pods a second | 0.250 % | 2.5 cores |", "| bytes, churn of 20 pods a second | 300.0 kB/s | 300.0 MB/s |", "| first lists, bytes | 25.0 MB | 25.0 GB |"}, 0},
		{"too much CPU", slow, nil, 1},
		{"too much memory", fat, nil, 1},
		{"too late", late, nil, 1},
		{"no clients", none, []string{"Not measured in this run."}, 0},
	} {
		page := row.result.Page()
		for _, want := range row.want {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q in:\n%s", row.name, want, page)
			}
		}
		if got := strings.Count(page, "**missed**"); got != row.missed {
			t.Errorf("%s: %d targets missed, want %d", row.name, got, row.missed)
		}
		if strings.Contains(page, "NaN") || strings.Contains(page, "%!") {
			t.Errorf("%s: not a number, or a wrong verb, in:\n%s", row.name, page)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dir", "result.json")
	if err := example().Save(file); err != nil {
		t.Fatal(err)
	}
	r, err := Load(file)
	if err != nil || r.Page() != example().Page() {
		t.Errorf("read again: %+v, %v", r, err)
	}
}

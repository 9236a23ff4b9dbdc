// SPDX-License-Identifier: Apache-2.0

package record

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Median of a list; 0 of an empty one.
func Median[T cmp.Ordered](values []T) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// MedianInterval is the 95 % confidence interval of the median, from the ranks
// of a binomial distribution: nothing is assumed about the shape of the noise.
// With fewer than six values, the whole range.
func MedianInterval(values []float64) (low, high float64) {
	if len(values) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	below := int(math.Floor(n/2-1.96*math.Sqrt(n)/2)) - 1 // values below the interval
	if len(sorted) < 6 || below < 0 {
		below = 0
	}
	return sorted[below], sorted[len(sorted)-1-below]
}

// Distribute takes the quantiles of a list; all are 0 of an empty one.
func Distribute(list []time.Duration) Distribution {
	if len(list) == 0 {
		return Distribution{}
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(q float64) float64 { return Ms(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) }
	return Distribution{Count: len(sorted), P50Ms: at(0.5), P90Ms: at(0.9), P99Ms: at(0.99), MaxMs: at(1)}
}

// Ms of a duration, to the microsecond.
func Ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

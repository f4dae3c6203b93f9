// Package stats holds the little statistics that the tables need.
package stats

import "slices"

// Median is the middle value, or the mean of the middle two; 0 of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Spread is the distance from the least to the greatest value as a part of the
// median; 0 of fewer than two.
func Spread(v []float64) float64 {
	m := Median(v)
	if len(v) < 2 || m == 0 {
		return 0
	}
	return (slices.Max(v) - slices.Min(v)) / m
}

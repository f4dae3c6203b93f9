package api

import (
	"fmt"
	"strings"
)

// didYouMean returns `; did you mean "x"?` for the candidate nearest to got, or
// "" if none is near enough to be a misspelling.
func didYouMean(got string, candidates []string) string {
	if best := nearest(got, candidates); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}

// nearest returns the candidate of which got may be a misspelling, or "".
func nearest(got string, candidates []string) string {
	best, bestDistance := "", 1<<30
	folded := foldName(got)
	limit := max(1, len(folded)/3)
	for _, c := range candidates {
		if d := distance(folded, foldName(c), limit+1); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == got || bestDistance > limit {
		return ""
	}
	return best
}

// foldName makes spellings equal that differ in case and separators only, as
// port_level_mtls and portLevelMtls do.
func foldName(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance is the Damerau-Levenshtein distance (optimal string alignment) of a
// and b in bytes, or limit if it is not below it.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return min(prev[len(b)], limit)
}

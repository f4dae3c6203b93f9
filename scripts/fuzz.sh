#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time ("60s") each.
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s}
found=0
while IFS=: read -r file target; do
	found=$((found + 1))
	echo "fuzz: $target in $(dirname "$file")"
	go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x
done < <(grep -rhoE --include='*_test.go' -H '^func (Fuzz[A-Za-z0-9_]+)' internal | sed -E 's/:func /:/' | sort -u)
echo "fuzz: $found targets, no finding"
[ "$found" -gt 0 ]

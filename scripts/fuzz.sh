#!/usr/bin/env bash
# Runs fuzz targets for the given time ("60s") each: all of the module, or, with a
# number, that many of them, others each day.
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s} share=${2:-0}
mapfile -t targets < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal | sed -E 's/:func /:/' | sort -u)
all=${#targets[@]}
[ "$all" -gt 0 ] || { echo "fuzz: no target was found" >&2; exit 1; }
first=0 count=$all
if [ "$share" -gt 0 ] && [ "$share" -lt "$all" ]; then
	count=$share
	first=$(($(date +%s) / 86400 * share % all))
fi
for ((i = 0; i < count; i++)); do
	IFS=: read -r file target <<<"${targets[(first + i) % all]}"
	echo "fuzz: $target in $(dirname "$file")"
	# A crash is kept below testdata/fuzz; minimising it longer than this costs the time of others.
	go test -tags grpcnotrace "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x
done
echo "fuzz: $count of $all targets, no finding"

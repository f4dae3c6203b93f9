#!/usr/bin/env bash
# Checks the types of the console's sources (web/src). The compiler comes from npm and
# is kept in the cache; where there is no npm, the check is left out and says so.
# Nothing that is built or run needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=7.0.2
dir=${LATEEN_CACHE:-$PWD/.cache}/tools/typescript-$version
if [ ! -x "$dir/node_modules/.bin/tsc" ]; then
	if ! command -v npm >/dev/null 2>&1 || ! npm install --silent --no-audit --no-fund --prefix "$dir" "typescript@$version" >/dev/null 2>&1; then
		echo "left out: types of web/src (no npm, or no typescript $version from it)"
		exit 0
	fi
fi
"$dir/node_modules/.bin/tsc" --noEmit -p web

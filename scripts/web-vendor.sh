#!/usr/bin/env bash
# Fetches the console's libraries again, as web/vendor/VERSIONS names them: one ES
# module each, its types where they are small, its licence. Needs npm; the build
# needs neither npm nor what this script leaves behind.
set -euo pipefail
cd "$(dirname "$0")/.."
vendor=$PWD/web/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take PACKAGE VERSION DIRECTORY FILE=NAME ...
take() {
  local package=$1 version=$2 dir=$vendor/$3
  shift 3
  local archive
  archive=$(cd "$work" && npm pack --silent "$package@$version")
  mkdir -p "$work/x" && rm -rf "$work/x" && mkdir "$work/x" "$work/x/p" && tar -xzf "$work/$archive" -C "$work/x/p" --strip-components=1
  mkdir -p "$dir"
  for pair in "$@" LICENSE=LICENSE; do
    # What points to source maps goes: they are not vendored.
    mkdir -p "$(dirname "$dir/${pair##*=}")"
    sed '/^\/\/# sourceMappingURL=/d' "$work/x/p/${pair%%=*}" >"$dir/${pair##*=}"
  done
  echo "$package $version"
}

version() { awk -v p="$1" '$1 == p { print $2 }' "$vendor/VERSIONS"; }

take preact "$(version preact)" preact dist/preact.mjs=preact.mjs hooks/dist/hooks.mjs=hooks.mjs jsx-runtime/dist/jsxRuntime.mjs=jsx-runtime.mjs \
  src/index.d.ts=src/index.d.ts src/jsx.d.ts=src/jsx.d.ts src/dom.d.ts=src/dom.d.ts hooks/src/index.d.ts=hooks/src/index.d.ts jsx-runtime/src/index.d.ts=jsx-runtime/src/index.d.ts
take @preact/signals-core "$(version @preact/signals-core)" signals-core dist/signals-core.mjs=signals-core.mjs dist/signals-core.d.ts=signals-core.d.ts
take @preact/signals "$(version @preact/signals)" signals dist/signals.mjs=signals.mjs dist/signals.d.ts=signals.d.ts
take uplot "$(version uplot)" uplot dist/uPlot.esm.js=uplot.mjs dist/uPlot.d.ts=uplot.d.ts dist/uPlot.min.css=uplot.css
take axe-core "$(version axe-core)" axe axe.min.js=axe.min.js

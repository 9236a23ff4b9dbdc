#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests that need a kernel, on this machine's own. They were built by make
# vagrant-binaries: PACKAGE-WITH-DASHES.test, and a list of the packages.
set -euo pipefail
cd /weir
export DEBIAN_FRONTEND=noninteractive WEIR_KERNEL_TESTS=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends iproute2 iptables nftables >/dev/null
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
uname -r
failed=
while read -r package; do
	echo "=== $package"
	(cd "$package" && "/weir/.bin/vagrant/${package//\//-}.test" -test.v -test.timeout=30m) || failed="$failed $package"
done </weir/.bin/vagrant/packages
[ -z "$failed" ] || { echo "failed on $(uname -r):$failed" >&2; exit 1; }

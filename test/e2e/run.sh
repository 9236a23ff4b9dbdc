#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The end-to-end tests on fresh clusters of test/cluster, one for each
# variant, which is CNI:PROXY:FAMILIES. Called by make e2e and make e2e-ci,
# which build what it needs in BIN. Results go to BIN/e2e/VARIANT.
#
# ROWS is a regular expression of the rows to run, UPSTREAM=1 adds the upstream
# suite, KEEP=1 leaves the cluster of a failed run for a look. OTHER_IMAGE is
# weir with other layouts of its maps.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${BIN:=$PWD/.bin}" "${ROWS:=.}" "${UPSTREAM:=}" "${KEEP:=}" "${OTHER_IMAGE:?}"
cluster=$BIN/weir-cluster

phase() { printf '\n--- %s (%ss)\n' "$1" "$SECONDS"; }

finish() {
	code=$?
	if [ $code -ne 0 ] && [ -n "$KEEP" ]; then
		echo "the cluster stays for a look: make cluster-down ends it"
	else
		"$cluster" down
	fi
	exit $code
}
trap finish EXIT

# rows FILE FLAG...: run, show, and keep the results, also of a failure.
rows() {
	local file=$1 code=0
	shift
	"$BIN/e2e.test" -test.v=test2json -test.timeout 40m -test.run "$ROWS" --machine "$cluster" "$@" 2>&1 | tee "$file.log" | sed -u 's/\x16//g' || code=$?
	go tool test2json -t <"$file.log" >"$file.json"
	return $code
}

# server FILE: the tests of the agent's packages that need a real API server.
server() {
	local file=$1 code=0
	for package in watch kube; do
		WEIR_MANIFESTS=$BIN/viewers/install.yaml "$BIN/$package-cluster.test" -test.v=test2json -test.timeout 5m -test.run KUBECONFIG 2>&1 |
			tee -a "$file.log" | sed -u 's/\x16//g' || code=$?
	done
	go tool test2json -t <"$file.log" >"$file.json"
	return $code
}

for variant in "$@"; do
	IFS=: read -r cni proxy families <<<"$variant"
	out=$BIN/e2e/$cni-$proxy-$families
	rm -rf "$out" && mkdir -p "$out"
	printf '{"variant": "%s", "commit": "%s", "kernel": "%s", "began": "%s"}\n' "$cni, kube-proxy $proxy, $families" \
		"$(git describe --always --dirty 2>/dev/null || echo unknown)" "$(uname -r)" "$(date -u +%FT%TZ)" >"$out/about.json"
	phase "cluster: $cni, kube-proxy $proxy, $families"
	"$cluster" down
	KUBECONFIG=$("$cluster" up --source test/cluster --cni "$cni" --proxy "$proxy" --families "$families")
	export KUBECONFIG
	"$cluster" load "$BIN/weir-e2e.tar" "$BIN/weir-other.tar" "$BIN/traffic.tar" "$BIN/coredns.tar"
	phase "control run: without weir, what policy denies must pass"
	rows "$out/control" --dns test/cluster/coredns/coredns.yaml --without-weir
	phase "rows"
	rows "$out/rows" --install deploy/install.yaml --viewers "$BIN/viewers/install.yaml" --weir "$BIN/weir" --other "$OTHER_IMAGE"
	if [[ $ROWS == . || $ROWS == *KUBECONFIG* ]]; then
		phase "the agent's side of the API server"
		server "$out/server"
	fi
	if [ -n "$UPSTREAM" ]; then
		phase "the upstream suite"
		"$BIN/netpol.test" --kubeconfig "$KUBECONFIG" --provider=local --ginkgo.no-color --ginkgo.timeout=90m --ginkgo.json-report "$out/netpol.json" >"$out/netpol.log" 2>&1 || { tail -n 100 "$out/netpol.log"; exit 1; }
		tail -n 4 "$out/netpol.log"
	fi
	"$cluster" down
done
phase "end"

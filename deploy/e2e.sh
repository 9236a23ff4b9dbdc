#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The end-to-end tests against the cluster that KUBECONFIG leads to, whose nodes
# have the images of weir and of weir-traffic (make e2e-image). They install weir
# in mode enforce: install.yaml itself audits. WEIR_E2E names the test binary;
# without it, it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${KUBECONFIG:?names no cluster}"
if [ -z "${WEIR_E2E:-}" ]; then
	WEIR_E2E=$PWD/.bin/e2e.test
	(cd test/e2e && CGO_ENABLED=0 go test -c -o "$WEIR_E2E" .)
fi
exec "$WEIR_E2E" -test.v -test.timeout=60m --install deploy/install.yaml

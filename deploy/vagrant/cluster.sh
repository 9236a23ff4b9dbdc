#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cluster on this machine by the project's own harness, with weir in it, and
# the end-to-end tests. The tools are of make vagrant-binaries; Kubernetes is
# built here, which takes minutes.
set -euo pipefail
cd /weir
export DEBIAN_FRONTEND=noninteractive PATH=/weir/.bin/vagrant:/weir/.bin/vagrant/go/bin:$PATH
apt-get install -y -qq --no-install-recommends containerd runc containernetworking-plugins conntrack iptables nftables iproute2 >/dev/null
KUBECONFIG=$(weir-cluster up --source test/cluster)
export KUBECONFIG
weir-cluster load .bin/image/weir-amd64.tar .bin/traffic.tar
WEIR_E2E=/weir/.bin/vagrant/e2e.test exec deploy/e2e.sh

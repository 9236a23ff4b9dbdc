#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kind cluster with weir and a plain CNI (ptp, host-local, portmap, from the
# node image), and the same tests as elsewhere against it. Needs docker, kind
# and kubectl; "up.sh down" removes the cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=weir

if [ "${1:-up}" = down ]; then
	exec kind delete cluster --name "$cluster"
fi
arch=$(go env GOARCH)
image=.bin/image/weir-$arch.tar
[ -e "$image" ] || make images
make e2e-image

kind create cluster --config deploy/kind/kind.yaml
export KUBECONFIG="${KUBECONFIG:-$PWD/.bin/kind.kubeconfig}"
kind get kubeconfig --name "$cluster" >"$KUBECONFIG"

# One subnet for each node, and a route to it on the others.
for node in $(kubectl get nodes -o name); do
	node=${node#node/}
	subnet=$(kubectl get node "$node" -o 'jsonpath={.spec.podCIDR}')
	docker exec -i "$node" sh -c 'cat >/etc/cni/net.d/10-pods.conflist' <<-JSON
		{"cniVersion": "1.0.0", "name": "pods", "plugins": [
		  {"type": "ptp", "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-pods",
		    "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$subnet"}]]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}
		]}
	JSON
	address=$(kubectl get node "$node" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
	for other in $(kubectl get nodes -o name); do
		[ "$other" = "node/$node" ] || docker exec "${other#node/}" ip route replace "$subnet" via "$address"
	done
	# What leaves the cluster goes out under the node's address.
	docker exec "$node" iptables -t nat -A POSTROUTING -s "$subnet" ! -d 10.244.0.0/16 -j MASQUERADE
done
kind load image-archive "$image" --name "$cluster"
kind load image-archive .bin/traffic.tar --name "$cluster"

kubectl wait --for=condition=Ready nodes --all --timeout=180s
exec deploy/e2e.sh

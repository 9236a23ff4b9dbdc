// SPDX-License-Identifier: Apache-2.0

package e2e

import "os"

// image of every pod: Kubernetes' own test image, unless WEIR_E2E_IMAGE names
// another of its kind.
func image() string {
	if name := os.Getenv("WEIR_E2E_IMAGE"); name != "" {
		return name
	}
	return "registry.k8s.io/e2e-test-images/agnhost:2.59"
}

// trafficImage of the pods that call without pause: cmd/weir-traffic.
func trafficImage() string {
	if name := os.Getenv("WEIR_E2E_TRAFFIC_IMAGE"); name != "" {
		return name
	}
	return "weir.test/traffic:1"
}

// SPDX-License-Identifier: Apache-2.0

// Package image writes container images made of static programs, as archives
// that containerd imports: no registry, no daemon, no base image.
package image

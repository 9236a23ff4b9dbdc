// SPDX-License-Identifier: Apache-2.0

// Package test holds the rules that the whole tree keeps; its folders hold the
// tests that need more than one package.
package test

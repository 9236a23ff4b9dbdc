// SPDX-License-Identifier: Apache-2.0

package netpol

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed exclusions.txt
var exclusionFile string

// Exclusion of specs whose name matches, and why.
type Exclusion struct{ Pattern, Reason string }

// Exclusions of this package's file.
func Exclusions() ([]Exclusion, error) { return parseExclusions(exclusionFile) }

// parseExclusions takes lines of a pattern, a tab and a reason. A pattern that
// matches every name, such as an empty one, would exclude the suite.
func parseExclusions(file string) ([]Exclusion, error) {
	var list []Exclusion
	number := 0
	for line := range strings.Lines(file) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, _ := strings.Cut(line, "\t")
		if strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("exclusions.txt line %d: no reason; write the pattern, a tab and the reason", number)
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("exclusions.txt line %d: %w", number, err)
		}
		if expression.MatchString("") {
			return nil, fmt.Errorf("exclusions.txt line %d: %q matches every spec", number, pattern)
		}
		list = append(list, Exclusion{pattern, reason})
	}
	return list, nil
}

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// EnvPrefix of the environment variables: --state-dir is WEIR_STATE_DIR.
const EnvPrefix = "WEIR_"

// Fill sets what neither the command line nor an earlier source has set: first
// from the environment, then from the file, if one is named. A key that no
// flag has is an error; nothing is set then.
func Fill(fs *pflag.FlagSet, environ func(string) (string, bool), file string) error {
	values := map[string]string{}
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		if values, err = parseFile(fs, raw); err != nil {
			return fmt.Errorf("configuration %s: %w", file, err)
		}
	}
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "config" {
			return
		}
		value, origin := "", ""
		if v, ok := environ(envName(f.Name)); ok {
			value, origin = v, envName(f.Name)
		} else if v, ok := values[f.Name]; ok {
			value, origin = v, file+": "+f.Name
		} else {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", origin, err))
		}
	})
	return errors.Join(errs...)
}

func envName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// parseFile reads a YAML mapping from flag names to scalars, lists or
// mappings, as the text that the flag would take.
func parseFile(fs *pflag.FlagSet, raw []byte) (map[string]string, error) {
	var keys map[string]any
	if err := yaml.UnmarshalStrict(raw, &keys); err != nil {
		return nil, fmt.Errorf("not a YAML mapping: %w", err)
	}
	values := make(map[string]string, len(keys))
	var errs []error
	for key, v := range keys {
		if key == "config" || fs.Lookup(key) == nil {
			errs = append(errs, fmt.Errorf("unknown key %q; the keys are the names of weir-agent's flags", key))
			continue
		}
		text, err := flagText(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %q: %w", key, err))
			continue
		}
		if _, scalar := v.(string); text == "" && !scalar {
			continue // an empty list or mapping, or no value: the default
		}
		values[key] = text
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return values, errors.Join(errs...)
}

func flagText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			text, err := flagText(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	case map[string]any:
		parts := make([]string, 0, len(v))
		for k, e := range v {
			text, err := flagText(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, k+"="+text)
		}
		sort.Strings(parts)
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("a %T is not a value of a flag", v)
}

// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// Namespace that the plain manifests install into.
const Namespace = "weir-system"

// Render gives the text of each template by its file name. Values are checked
// against the chart's schema, as helm does.
func Render(dir string, values map[string]any) (map[string]string, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: "weir", Namespace: Namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(loaded, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(loaded, all)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, text := range rendered {
		out[path.Base(name)] = text
	}
	return out, nil
}

// Install is the chart with these values (none: its own) and the namespace, for
// those who have no helm.
func Install(dir string, values map[string]any) ([]byte, error) {
	files, err := Render(dir, forManifests(values, "none"))
	if err != nil {
		return nil, err
	}
	// The namespace comes first, what runs last.
	return join(files, "namespace.yaml", "rbac.yaml", "viewers.yaml", "config.yaml", "agent.yaml")
}

// Cleanup removes weir from every node, after the agents are gone. The presets
// of the folders are those of values.
func Cleanup(dir string, values map[string]any) ([]byte, error) {
	files, err := Render(dir, forManifests(values, "manifest"))
	if err != nil {
		return nil, err
	}
	for _, of := range []string{"rbac.yaml", "viewers.yaml", "config.yaml", "agent.yaml"} {
		delete(files, of)
	}
	return join(files, "namespace.yaml", "cleanup.yaml")
}

// forManifests sets what files that kubectl applies must have.
func forManifests(values map[string]any, cleanup string) map[string]any {
	all := maps.Clone(values)
	if all == nil {
		all = map[string]any{}
	}
	all["namespace"] = map[string]any{"create": true}
	all["cleanup"] = map[string]any{"mode": cleanup}
	return all
}

// join writes the files in this order; one that is not named is a mistake.
func join(files map[string]string, order ...string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintln(&out, "# SPDX-License-Identifier: Apache-2.0\n# Rendered from deploy/chart by make install-yaml; change that.")
	for _, name := range order {
		if text := strings.TrimSpace(files[name]); text != "" {
			fmt.Fprintf(&out, "---\n%s\n", strings.ReplaceAll(text, "managed-by: Helm", "managed-by: weir"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(files[name]) != "" && !slices.Contains(order, name) {
			return nil, fmt.Errorf("template %s has no place in the order of the manifests", name)
		}
	}
	return out.Bytes(), nil
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

const fieldManager = "weir-e2e"

// Install applies a file of manifests, in its order, with weir in mode enforce:
// the file's own mode is audit, in which nothing is denied.
func (c *Cluster) Install(ctx context.Context, file string) error {
	raw, err := os.Open(file)
	if err != nil {
		return err
	}
	defer raw.Close()
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	kinds, err := restmapper.GetAPIGroupResources(c.client.Discovery())
	if err != nil {
		return err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(kinds)
	documents := yaml.NewYAMLOrJSONDecoder(raw, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if len(object.Object) == 0 { // comments between two separators
			continue
		}
		if err := c.apply(ctx, client, mapper, object); err != nil {
			return fmt.Errorf("apply %s %s of %s: %w", object.GetKind(), object.GetName(), file, err)
		}
	}
}

func (c *Cluster) apply(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, object *unstructured.Unstructured) error {
	if object.GetKind() == "ConfigMap" {
		if _, found, _ := unstructured.NestedString(object.Object, "data", "weir.yaml"); found {
			if err := unstructured.SetNestedField(object.Object, "mode: enforce\n", "data", "weir.yaml"); err != nil {
				return err
			}
		}
	}
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = client.Resource(mapping.Resource).Namespace(object.GetNamespace())
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

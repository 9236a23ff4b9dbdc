// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	return c.each(ctx, file, func(resource dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		if err := enforce(object); err != nil {
			return err
		}
		_, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		return err
	})
}

// Remove deletes what a file of manifests holds, in its order, and waits until
// all of it is gone.
func (c *Cluster) Remove(ctx context.Context, file string, limit time.Duration) error {
	err := c.each(ctx, file, func(resource dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		return ignoreNotFound(resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{}))
	})
	if err != nil {
		return err
	}
	return c.each(ctx, file, func(resource dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		return poll(ctx, limit, func(ctx context.Context) error {
			_, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err == nil {
				return errors.New("it is still there")
			}
			return ignoreNotFound(err)
		})
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// each object of a file of manifests, with the client for it.
func (c *Cluster) each(ctx context.Context, file string, do func(dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
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
		resource, err := resourceOf(client, mapper, object)
		if err == nil {
			err = do(resource, object)
		}
		if err != nil {
			return fmt.Errorf("%s %s of %s: %w", object.GetKind(), object.GetName(), file, err)
		}
	}
}

func resourceOf(client dynamic.Interface, mapper meta.RESTMapper, object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return client.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
	}
	return client.Resource(mapping.Resource), nil
}

func enforce(object *unstructured.Unstructured) error {
	if _, found, _ := unstructured.NestedString(object.Object, "data", "weir.yaml"); object.GetKind() != "ConfigMap" || !found {
		return nil
	}
	return unstructured.SetNestedField(object.Object, "mode: enforce\n", "data", "weir.yaml")
}

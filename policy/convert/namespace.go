// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/policy"
)

var (
	errNoName      = errors.New("the object has no name: set metadata.name")
	errNoNamespace = errors.New("the object has no namespace: set metadata.namespace")
)

// Namespace converts a Namespace. Its labels always hold
// kubernetes.io/metadata.name with its name, as the API server sees to; a file
// need not repeat it, and cannot claim another name by it.
func Namespace(n *corev1.Namespace) (policy.Namespace, error) {
	if n.Name == "" {
		return policy.Namespace{}, errNoName
	}
	labels := make(map[string]string, len(n.Labels)+1)
	maps.Copy(labels, n.Labels)
	labels[corev1.LabelMetadataName] = n.Name
	return policy.Namespace{Name: n.Name, Labels: labels}, nil
}

func key(meta *metav1.ObjectMeta) (policy.ObjectKey, error) {
	if meta.Name == "" {
		return policy.ObjectKey{}, errNoName
	}
	if meta.Namespace == "" {
		return policy.ObjectKey{}, errNoNamespace
	}
	return policy.ObjectKey{Namespace: meta.Namespace, Name: meta.Name}, nil
}

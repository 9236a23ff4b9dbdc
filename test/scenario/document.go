// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
)

// documents splits YAML at its --- lines; comments alone are no document.
func documents(text string) []string {
	var docs []string
	for _, doc := range strings.Split("\n"+text, "\n---") {
		var any map[string]any
		if err := yaml.Unmarshal([]byte(doc), &any); err != nil || len(any) > 0 {
			docs = append(docs, doc)
		}
	}
	return docs
}

// readPolicies reads NetworkPolicies as a user writes them. Rules may have
// problems; a policy that is unusable as a whole is an error.
func readPolicies(text string) ([]*policy.Policy, error) {
	var out []*policy.Policy
	for i, doc := range documents(text) {
		var object networkingv1.NetworkPolicy
		if err := decode(doc, &object, &object.TypeMeta, "networking.k8s.io/v1", "NetworkPolicy"); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		p, err := convert.NetworkPolicy(&object)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, errors.New("the block holds no object")
	}
	return out, nil
}

func readPods(text string) ([]*policy.Pod, error) {
	var out []*policy.Pod
	for i, doc := range documents(text) {
		var object corev1.Pod
		if err := decode(doc, &object, &object.TypeMeta, "v1", "Pod"); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		if object.Spec.NodeName == "" {
			object.Spec.NodeName = Here
		}
		p, problems, err := convert.Pod(&object)
		if err != nil || len(problems) > 0 {
			return nil, fmt.Errorf("document %d: %w %s", i+1, err, strings.Join(problems, "; "))
		}
		p.UID = p.String()
		out = append(out, p)
	}
	return out, nil
}

// decode is strict: a misspelt field is an error, never an absent one.
func decode(doc string, into any, meta *metav1.TypeMeta, version, kind string) error {
	if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
		return err
	}
	if meta.Kind != "" && meta.Kind != kind || meta.APIVersion != "" && meta.APIVersion != version {
		return fmt.Errorf("%s of %s, want %s of %s", meta.Kind, meta.APIVersion, kind, version)
	}
	return nil
}

// namespaceOf adds the label that every namespace has.
func namespaceOf(name string, labels map[string]string) (policy.Namespace, error) {
	return convert.Namespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
}

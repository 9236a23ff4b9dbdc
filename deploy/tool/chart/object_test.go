// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// object is what every kind has, and of bindings where they lead.
type object struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	ref     rbacv1.RoleRef
	subject rbacv1.Subject
	rules   []rbacv1.PolicyRule
	pod     *corev1.PodSpec
	data    map[string]string
}

func (o object) APIGroup() string { return strings.Split(o.APIVersion, "/")[0] }

// render decodes all objects strictly.
func render(t *testing.T, values tree) []object {
	t.Helper()
	files, err := Render(dir, values)
	must(t, err)
	var out []object
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		docs := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			if o, ok := decode(t, name, doc); ok {
				out = append(out, o)
			}
		}
	}
	return out
}

func decode(t *testing.T, name string, doc []byte) (object, bool) {
	t.Helper()
	var o object
	must(t, yaml.Unmarshal(doc, &o.TypeMeta))
	strict := func(into any) {
		t.Helper()
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Errorf("%s: %s: %v", name, o.Kind, err)
		}
	}
	switch o.Kind {
	case "":
		return o, false // an empty document
	case "Namespace":
		var x corev1.Namespace
		strict(&x)
		o.ObjectMeta = x.ObjectMeta
	case "ServiceAccount":
		var x corev1.ServiceAccount
		strict(&x)
		o.ObjectMeta = x.ObjectMeta
	case "ConfigMap":
		var x corev1.ConfigMap
		strict(&x)
		o.ObjectMeta, o.data = x.ObjectMeta, x.Data
	case "ClusterRole", "Role":
		var x rbacv1.Role
		strict(&x)
		o.ObjectMeta, o.rules = x.ObjectMeta, x.Rules
	case "ClusterRoleBinding", "RoleBinding":
		var x rbacv1.RoleBinding
		strict(&x)
		o.ObjectMeta, o.ref = x.ObjectMeta, x.RoleRef
		if len(x.Subjects) != 1 {
			t.Fatalf("%s: %s has %d subjects", name, o.Kind, len(x.Subjects))
		}
		o.subject = x.Subjects[0]
	case "DaemonSet":
		var x appsv1.DaemonSet
		strict(&x)
		o.ObjectMeta, o.pod = x.ObjectMeta, &x.Spec.Template.Spec
	case "Job":
		var x batchv1.Job
		strict(&x)
		o.ObjectMeta, o.pod = x.ObjectMeta, &x.Spec.Template.Spec
	default:
		t.Errorf("%s: a %s is not expected", name, o.Kind)
	}
	return o, true
}

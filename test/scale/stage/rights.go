// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	namespace = "weir-system"
	account   = "weir-agent"
	// Requests is the flow schema under which the API server counts the
	// agent's requests.
	Requests = "weir-scale-agent"
)

// applyManifests makes the agent's account with the rights that the chart
// gives it, and a kubeconfig with a token of it.
func (s *Stage) applyManifests(ctx context.Context) error {
	raw, err := os.ReadFile(s.options.Manifests)
	if err != nil {
		return err
	}
	for document := range bytes.SplitSeq(raw, []byte("\n---\n")) {
		if !bytes.Contains(document, []byte("kind:")) {
			continue
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", s.options.Manifests, err)
		}
		if err := s.apply(ctx, object); err != nil {
			return fmt.Errorf("apply %s: %w", s.options.Manifests, err)
		}
	}
	if err := s.countRequests(ctx); err != nil {
		return err
	}
	return s.writeKubeconfig(ctx)
}

// apply what the rights consist of. The agent itself is started by us, within
// the limit that the chart sets.
func (s *Stage) apply(ctx context.Context, object any) (err error) {
	rbac, create := s.Admin.RbacV1(), metav1.CreateOptions{}
	switch o := object.(type) {
	case *corev1.Namespace:
		_, err = s.Admin.CoreV1().Namespaces().Create(ctx, o, create)
	case *corev1.ServiceAccount:
		_, err = s.Admin.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, create)
	case *rbacv1.ClusterRole:
		_, err = rbac.ClusterRoles().Create(ctx, o, create)
	case *rbacv1.ClusterRoleBinding:
		_, err = rbac.ClusterRoleBindings().Create(ctx, o, create)
	case *rbacv1.Role:
		_, err = rbac.Roles(o.Namespace).Create(ctx, o, create)
	case *rbacv1.RoleBinding:
		_, err = rbac.RoleBindings(o.Namespace).Create(ctx, o, create)
	case *appsv1.DaemonSet:
		s.Limit = uint64(o.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value())
	}
	return err
}

// countRequests of the agent apart from those of others.
func (s *Stage) countRequests(ctx context.Context) error {
	schema := &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: Requests},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-low"},
			MatchingPrecedence:         100,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindServiceAccount,
					ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: namespace, Name: account}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"},
					Namespaces: []string{"*"}, ClusterScope: true,
				}},
			}},
		},
	}
	if _, err := s.Admin.FlowcontrolV1().FlowSchemas().Create(ctx, schema, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("flow schema: %w", err)
	}
	return nil
}

func (s *Stage) kubeconfig() string { return s.dir("agent.kubeconfig") }

// Token of the agent's account.
func (s *Stage) Token(ctx context.Context) (string, error) {
	lifetime := int64(4 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	answer, err := s.Admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of %s: %w", account, err)
	}
	return answer.Status.Token, nil
}

func (s *Stage) writeKubeconfig(ctx context.Context) error {
	token, err := s.Token(ctx)
	if err != nil {
		return err
	}
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: scale
clusters:
- name: scale
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: agent
  user: {token: %s}
contexts:
- name: scale
  context: {cluster: scale, user: agent}
`, s.config.Host, base64.StdEncoding.EncodeToString(s.config.CAData), token)
	return os.WriteFile(s.kubeconfig(), []byte(content), 0o600)
}

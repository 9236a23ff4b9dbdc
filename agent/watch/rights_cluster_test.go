// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package watch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/agent/kube"
)

const rightsLimit = 30 * time.Second

// TestRightsOfKUBECONFIG does all that the agent does at an API server, as an
// account with the rights of the chart's agent, and then without each verb on
// each resource: whatever is missing is told, and so none is there unused.
// WEIR_MANIFESTS names the chart rendered with viewers:
//
//	KUBECONFIG=... WEIR_MANIFESTS=... go test -tags cluster -run RightsOfKUBECONFIG -v ./agent/watch
func TestRightsOfKUBECONFIG(t *testing.T) {
	s := newSetting(t)
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		d := s.deputy(t, "all", s.rights)
		told := d.exercise(t, func(string) bool {
			return d.source.Health() == nil && d.source.Connection().Err == nil && d.events(t) == 2
		})
		if got := refusals(told); len(got) > 0 {
			t.Errorf("with all rights it told: %s", told)
		}
	})
	for i, r := range s.rights {
		t.Run("without "+r.String(), func(t *testing.T) {
			t.Parallel()
			d := s.deputy(t, fmt.Sprint("without-", i), slices.Concat(s.rights[:i], s.rights[i+1:]))
			want := fmt.Sprintf("cannot %s resource %q", r.verb, r.resource)
			told := d.exercise(t, func(told string) bool { return strings.Contains(told, want) })
			if got := refusals(told); len(got) != 1 {
				t.Errorf("more than one right is missing: %q", got)
			}
		})
	}
}

// refusals of the API server, each once.
func refusals(told string) []string {
	found := regexp.MustCompile(`cannot \w+ resource "\w+"`).FindAllString(told, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// right is one verb on one resource.
type right struct {
	group, resource, verb string
	names                 []string
	inNamespace           bool // of a Role
}

func (r right) String() string { return strings.TrimSpace(r.verb + " " + r.group + "/" + r.resource) }

// setting is what all deputies share.
type setting struct {
	config    *rest.Config
	admin     kubernetes.Interface
	namespace string
	rights    []right
	viewer    string // a token
	user      *kube.User
}

func newSetting(t *testing.T) *setting {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(t, err)
	config.QPS = -1 // the server slows clients down by itself
	// A connection whose streams have just been given up is not idle yet.
	dialer := connrotation.NewDialer((&net.Dialer{}).DialContext)
	config.Dial = dialer.DialContext
	t.Cleanup(dialer.CloseAll)
	s := &setting{config: config, admin: clientOf(t, config), rights: rightsOf(t, os.Getenv("WEIR_MANIFESTS"))}
	ctx := t.Context()
	space, err := s.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "weir-rights-"}}, metav1.CreateOptions{})
	must(t, err)
	s.namespace = space.Name
	t.Cleanup(func() {
		must(t, s.admin.CoreV1().Namespaces().Delete(context.Background(), s.namespace, metav1.DeleteOptions{}))
	})
	s.viewer = s.token(t, "viewer", kube.Audience)
	s.user, err = reviewer(t, s.admin).User(ctx, s.viewer)
	must(t, err)
	return s
}

// rightsOf the roles weir-agent in a file of manifests.
func rightsOf(t *testing.T, file string) []right {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("WEIR_MANIFESTS names the manifests with the agent's roles: %v", err)
	}
	var list []right
	for doc := range strings.SplitSeq(string(raw), "\n---\n") {
		var role rbacv1.ClusterRole // a Role has the same rules
		if yaml.Unmarshal([]byte(doc), &role) != nil || role.Name != "weir-agent" || !strings.HasSuffix(role.Kind, "Role") {
			continue
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					list = append(list, right{rule.APIGroups[0], resource, verb, rule.ResourceNames, role.Kind == "Role"})
				}
			}
		}
	}
	for _, needed := range []string{"tokenreviews", "subjectaccessreviews", "daemonsets", "events"} {
		if !slices.ContainsFunc(list, func(r right) bool { return r.resource == needed }) {
			t.Fatalf("%s gives the agent no right on %s: render the chart with viewers and the CNI plugin", file, needed)
		}
	}
	return list
}

// token of a new account of the namespace.
func (s *setting) token(t *testing.T, account string, audiences ...string) string {
	t.Helper()
	accounts := s.admin.CoreV1().ServiceAccounts(s.namespace)
	_, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	must(t, err)
	answer, err := accounts.CreateToken(t.Context(), account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	must(t, err)
	return answer.Status.Token
}

// deputy of the agent: an account with some rights, and what it does.
type deputy struct {
	*setting
	name     string
	cluster  kube.Cluster
	source   *Kubernetes
	recorder *kube.Recorder
	log      *lines
	errors   []error // of what is asked once
}

func (s *setting) deputy(t *testing.T, name string, rights []right) *deputy {
	t.Helper()
	token := s.token(t, name)
	s.grant(t, name, rights)
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token
	config.Wrap(func(to http.RoundTripper) http.RoundTripper { return listsOnly{to} })
	d := &deputy{setting: s, name: name, log: &lines{}, cluster: kube.Cluster{Client: clientOf(t, config), Server: config.Host}}
	log := slog.New(slog.NewTextHandler(d.log, nil))
	var err error
	d.source, err = NewKubernetes(KubernetesOptions{Client: d.cluster.Client, Server: config.Host, Node: "n1", Backoff: time.Second}, log)
	must(t, err)
	d.recorder, err = kube.NewRecorder(kube.RecorderOptions{Client: d.cluster.Client, Node: "n1", Log: log, Repeat: time.Nanosecond})
	must(t, err)
	return d
}

// grant rights, and wait until the server's authorizer knows of them, which is a
// little later than its storage.
func (s *setting) grant(t *testing.T, account string, rights []right) {
	t.Helper()
	ctx, api, name := t.Context(), s.admin.RbacV1(), s.namespace+"-"+account
	var wide, narrow []rbacv1.PolicyRule
	for _, r := range rights {
		rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}, ResourceNames: r.names}
		if r.inNamespace {
			narrow = append(narrow, rule)
		} else {
			wide = append(wide, rule)
		}
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: account}}
	meta := metav1.ObjectMeta{Name: name}
	_, err := api.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: wide}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, api.ClusterRoles().Delete(context.Background(), name, metav1.DeleteOptions{})) })
	_, err = api.Roles(s.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: narrow}, metav1.CreateOptions{})
	must(t, err)
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	_, err = api.RoleBindings(s.namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref("Role"), Subjects: subjects}, metav1.CreateOptions{})
	must(t, err)
	_, err = api.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref("ClusterRole"), Subjects: subjects}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		must(t, api.ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{}))
	})
	user := fmt.Sprintf("system:serviceaccount:%s:%s", s.namespace, account)
	for _, r := range rights {
		s.awaitRight(t, user, r)
	}
}

func (s *setting) awaitRight(t *testing.T, user string, r right) {
	t.Helper()
	asked := authorizationv1.ResourceAttributes{Group: r.group, Resource: r.resource, Verb: r.verb}
	if r.inNamespace {
		asked.Namespace, asked.Name = s.namespace, r.names[0]
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &asked}}
	for end := time.Now().Add(rightsLimit); ; {
		answer, err := s.admin.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		must(t, err)
		if answer.Status.Allowed {
			return
		}
		if time.Now().After(end) || !pause(t.Context(), 10*time.Millisecond) {
			t.Fatalf("%s was not given to %s: %s", r, user, answer.Status.Reason)
		}
	}
}

// exercise all rights until what is told is as wanted.
func (d *deputy) exercise(t *testing.T, enough func(told string) bool) (told string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rightsLimit)
	defer cancel()
	s := newSession(t)
	s.run(d.source)
	done := make(chan struct{})
	go func() { defer close(done); _ = d.recorder.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range 2 { // the second is a repeat, which the library patches into the first
		d.recorder.Denied(kube.Pod(d.namespace, d.name, "u-"+d.name), func() string { return "denied" })
	}
	asked, end := context.WithTimeout(ctx, 2*time.Second)
	defer end()
	_, err := d.cluster.Removed(asked, d.namespace, "weir-agent")
	_, err2 := reviewer(t, d.cluster.Client).User(ctx, d.viewer)
	_, err3 := reviewer(t, d.cluster.Client).May(ctx, d.user, d.namespace)
	d.errors = []error{err, err2, err3}
	for told = d.told(); !enough(told); told = d.told() {
		if !pause(ctx, 10*time.Millisecond) {
			t.Fatalf("within %s it told: %s", rightsLimit, told)
		}
	}
	return told
}

// told is everything that says what does not work.
func (d *deputy) told() string {
	all := []string{fmt.Sprint(d.source.Connection().Err)}
	for _, err := range d.errors {
		all = append(all, fmt.Sprint(err))
	}
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	for _, line := range d.log.text {
		if strings.Contains(line, "events") {
			all = append(all, strings.ReplaceAll(line, `\"`, `"`))
		}
	}
	return strings.Join(all, "\n")
}

// events about the deputy's pod, as often as they were told.
func (d *deputy) events(t *testing.T) int32 {
	t.Helper()
	list, err := d.admin.CoreV1().Events(d.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + d.name})
	must(t, err)
	var count int32
	for _, e := range list.Items {
		count += e.Count
	}
	return count
}

// listsOnly answers as a server does that has no streaming lists: on one that has
// them the right to list would not be asked for.
type listsOnly struct{ http.RoundTripper }

const noStreams = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422, "message": "sendInitialEvents: Forbidden: no streaming lists here"}`

func (l listsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("sendInitialEvents") != "true" {
		return l.RoundTripper.RoundTrip(r)
	}
	return &http.Response{StatusCode: http.StatusUnprocessableEntity, Status: "422 Unprocessable Entity", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(noStreams))}, nil
}

func clientOf(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client
}

func reviewer(t *testing.T, client kubernetes.Interface) *kube.Reviewer {
	t.Helper()
	o := kube.ReviewerDefaults()
	o.Client = client
	r, err := kube.NewReviewer(o)
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

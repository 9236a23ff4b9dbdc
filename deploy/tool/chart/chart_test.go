// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const dir = "../../chart"

type tree = map[string]any

// sets of values that the chart must take.
var sets = []struct {
	name   string
	values tree
}{
	{"defaults", nil},
	{"no plugin", tree{"cni": tree{"preset": "none"}}},
	{"k3s", tree{"cni": tree{"preset": "k3s", "failure": "open"}}},
	{"own folders", tree{"cni": tree{"preset": "default", "confDir": "/x/net.d", "binDir": "/x/bin"}}},
	{"viewers", tree{"viewers": tree{"enabled": true, "namespaces": []any{"shop", "db"}}}},
	{"modes", tree{"mode": "enforce", "namespaceModes": tree{"shop": "audit", "db": "enforce"}}},
	{"everything else", tree{
		"namespace": tree{"create": true}, "cleanup": tree{"mode": "manifest"}, "extraArgs": []any{"--rule-metrics"},
		"imagePullSecrets": []any{tree{"name": "s"}}, "nodeSelector": tree{"a": "b"}, "podAnnotations": tree{"a": "b"}, "metricsAddress": "127.0.0.1:9000",
	}},
}

func TestLint(t *testing.T) {
	for _, set := range sets {
		for _, m := range lint.RunAll(dir, set.values, Namespace).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %s", set.name, m)
			}
		}
	}
}

// Values that are wrong are refused, and named.
func TestSchema(t *testing.T) {
	for _, row := range []struct {
		names  string
		values tree
	}{
		{"mode", tree{"mode": "enforced"}},
		{"modes", tree{"modes": "audit"}},
		{"shop", tree{"namespaceModes": tree{"shop": "off"}}},
		{"preset", tree{"cni": tree{"preset": "k4s"}}},
		{"failure", tree{"cni": tree{"failure": "maybe"}}},
		{"confDir", tree{"cni": tree{"confDir": "etc/cni"}}},
		{"timeout", tree{"cni": tree{"timeout": "10"}}},
		{"metricsAddress", tree{"metricsAddress": "9965"}},
		{"extraArgs", tree{"extraArgs": []any{"rule-metrics"}}},
		{"port", tree{"viewers": tree{"port": 0}}},
		{"viewers.namespaces", tree{"viewers": tree{"enabled": true, "namespaces": []any{Namespace}}}},
	} {
		_, err := Render(dir, row.values)
		if err == nil || !strings.Contains(err.Error(), row.names) {
			t.Errorf("%v: error %v, want one that names %s", row.values, err, row.names)
		}
	}
}

// The committed manifests are what the chart gives.
func TestManifestsAreRendered(t *testing.T) {
	for name, render := range map[string]func(string, map[string]any) ([]byte, error){"install.yaml": Install, "cleanup.yaml": Cleanup} {
		want, err := render(dir, nil)
		must(t, err)
		got, err := os.ReadFile(filepath.Join("../..", name))
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("deploy/%s is not what the chart gives; run make install-yaml and commit", name)
		}
	}
}

// Values reach the manifests, except those that the manifests are made by.
func TestManifestsOfValues(t *testing.T) {
	text, err := Install(dir, tree{"mode": "enforce", "cleanup": tree{"mode": "hook"}, "namespace": tree{"create": false}})
	must(t, err)
	for want, times := range map[string]int{"mode: enforce\n": 1, "kind: Namespace\n": 1, "helm.sh/hook": 0} {
		if got := strings.Count(string(text), want); got != times {
			t.Errorf("%d times %q, want %d", got, want, times)
		}
	}
	if _, err := Install(dir, tree{"mode": "off"}); err == nil {
		t.Error("values that the chart does not take were taken")
	}
}

// Every object has only fields that its kind knows, a known place, and weir's
// labels; every binding leads to a role and an account that are there.
func TestObjects(t *testing.T) {
	for _, set := range sets {
		objects := render(t, set.values)
		have := map[string]bool{}
		for _, o := range objects {
			have[o.Kind+"/"+o.Namespace+"/"+o.Name] = true
		}
		for _, o := range objects {
			if o.APIGroup() == rbacv1.GroupName && strings.HasSuffix(o.Kind, "Binding") {
				role := o.Namespace
				if o.ref.Kind == "ClusterRole" {
					role = ""
				}
				for _, need := range []string{o.ref.Kind + "/" + role + "/" + o.ref.Name, "ServiceAccount/" + o.subject.Namespace + "/" + o.subject.Name} {
					if !have[need] {
						t.Errorf("%s: %s %s leads to %s, which is not there", set.name, o.Kind, o.Name, need)
					}
				}
			}
		}
	}
}

func TestAgent(t *testing.T) {
	spec := podSpec(t, nil, "weir-agent")
	c := spec.Containers[0]
	for _, want := range []string{"--config=/etc/weir/weir.yaml", "--cni-preset=default", "--cni-failure=closed", "--cni-daemonset=" + Namespace + "/weir-agent", "--metrics-address=127.0.0.1:9965"} {
		if !slices.Contains(c.Args, want) {
			t.Errorf("no argument %s in %q", want, c.Args)
		}
	}
	if !spec.HostNetwork || spec.HostPID || spec.HostIPC || spec.PriorityClassName != "system-node-critical" || spec.NodeSelector["kubernetes.io/os"] != "linux" {
		t.Errorf("placement: %+v", spec)
	}
	if len(spec.Tolerations) != 1 || spec.Tolerations[0].Operator != corev1.TolerationOpExists || spec.Tolerations[0].Key != "" {
		t.Errorf("tolerations: %v", spec.Tolerations)
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Port.IntValue() != 9965 {
		t.Errorf("probes: %v %v", c.ReadinessProbe, c.LivenessProbe)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("requests: %v", c.Resources.Requests)
	}
	listens := func(args []string) bool {
		return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--viewer-address") })
	}
	if listens(c.Args) {
		t.Errorf("without viewers the agent listens for them: %q", c.Args)
	}
	if args := podSpec(t, tree{"viewers": tree{"enabled": true, "port": 9000}}, "weir-agent").Containers[0].Args; !slices.Contains(args, "--viewer-address=127.0.0.1:9000") {
		t.Errorf("with viewers: %q", args)
	}
	if text := configText(t, nil); !strings.Contains(text, "mode: audit\n") {
		t.Errorf("a first installation must audit: %s", text)
	}
	if text := configText(t, tree{"mode": "enforce", "namespaceModes": tree{"shop": "audit"}}); !strings.Contains(text, "mode: enforce\n") || !strings.Contains(text, "  shop: audit") {
		t.Errorf("modes: %s", text)
	}
	for _, port := range []string{"127.0.0.1:9000", "[::1]:9000"} {
		if p := podSpec(t, tree{"metricsAddress": port}, "weir-agent").Containers[0].LivenessProbe.HTTPGet.Port.IntValue(); p != 9000 {
			t.Errorf("metrics at %s, probe at port %d", port, p)
		}
	}
}

// Each mount has a volume, each folder of the plugin one mount at the same
// path, and without the plugin there is none.
func TestMounts(t *testing.T) {
	for _, set := range sets {
		for _, name := range []string{"weir-agent", "weir-cleanup"} {
			spec := podSpec(t, set.values, name)
			for _, c := range append(spec.Containers, spec.InitContainers...) {
				for _, m := range c.VolumeMounts {
					at := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
					if at < 0 || spec.Volumes[at].HostPath != nil && spec.Volumes[at].HostPath.Path != m.MountPath {
						t.Errorf("%s: %s: mount %s has no volume of its path", set.name, c.Name, m.Name)
					}
				}
				mounted := func(flag string) bool {
					for _, a := range c.Args {
						if path, ok := strings.CutPrefix(a, flag+"="); ok {
							return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == path })
						}
					}
					return false
				}
				if plugin := set.name != "no plugin"; mounted("--cni-conf-dir") != plugin || mounted("--cni-bin-dir") != plugin {
					t.Errorf("%s: %s: folders of the plugin are mounted %t and %t", set.name, c.Name, mounted("--cni-conf-dir"), mounted("--cni-bin-dir"))
				}
			}
		}
	}
}

// The rights are these and no more.
func TestRights(t *testing.T) {
	want := "/events create patch;/namespaces list watch;/nodes list watch;/pods list watch;/services list watch;apps/daemonsets/weir-agent get;discovery.k8s.io/endpointslices list watch;networking.k8s.io/networkpolicies list watch"
	if got := rights(t, nil, "weir-agent"); got != want {
		t.Errorf("rights:\n%s\nwant\n%s", got, want)
	}
	if got := rights(t, tree{"cni": tree{"preset": "none"}}, "weir-agent"); strings.Contains(got, "daemonsets") {
		t.Errorf("without the plugin: %s", got)
	}
	if got := rights(t, nil, "weir-agent"); strings.Contains(got, "reviews") {
		t.Errorf("without viewers: %s", got)
	}
	viewers := tree{"viewers": tree{"enabled": true, "namespaces": []any{"shop"}}}
	if got := rights(t, viewers, "weir-agent"); !strings.Contains(got, "tokenreviews create") || !strings.Contains(got, "subjectaccessreviews create") {
		t.Errorf("with viewers: %s", got)
	}
	if got := rights(t, viewers, "weir-viewer"); got != "weir.dev/flows get" {
		t.Errorf("a viewer: %s", got)
	}
}

// Helm waits for Jobs: the last hook is one, and what the hooks need is made
// before.
func TestHooks(t *testing.T) {
	var order []string
	for _, o := range render(t, nil) {
		if hook := o.Annotations["helm.sh/hook"]; hook != "" {
			if hook != "post-delete" || !strings.Contains(o.Annotations["helm.sh/hook-delete-policy"], "hook-succeeded") {
				t.Errorf("%s %s: annotations %v", o.Kind, o.Name, o.Annotations)
			}
			order = append(order, o.Annotations["helm.sh/hook-weight"]+" "+o.Kind)
		}
	}
	slices.Sort(order)
	if got := fmt.Sprint(order); got != "[0 Role 0 RoleBinding 0 ServiceAccount 1 DaemonSet 2 Job]" {
		t.Errorf("hooks %s", got)
	}
}

func podSpec(t *testing.T, values tree, name string) *corev1.PodSpec {
	t.Helper()
	for _, o := range render(t, values) {
		if o.Kind == "DaemonSet" && o.Name == name {
			return o.pod
		}
	}
	t.Fatalf("no DaemonSet %s", name)
	return nil
}

func configText(t *testing.T, values tree) string {
	t.Helper()
	for _, o := range render(t, values) {
		if o.Kind == "ConfigMap" {
			return o.data["weir.yaml"]
		}
	}
	t.Fatal("no ConfigMap")
	return ""
}

// rights of the roles of this name: group/resource[/name] verbs.
func rights(t *testing.T, values tree, role string) string {
	t.Helper()
	var out []string
	for _, o := range render(t, values) {
		if !strings.HasSuffix(o.Kind, "Role") || o.Name != role {
			continue
		}
		for _, r := range o.rules {
			for _, resource := range r.Resources {
				name := strings.Join(append([]string{r.APIGroups[0], resource}, r.ResourceNames...), "/")
				out = append(out, name+" "+strings.Join(r.Verbs, " "))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ";")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

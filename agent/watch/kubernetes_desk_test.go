// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/weirnet/weir/policy"
)

func deskOf(names ...string) *desk {
	return newDesk(KubernetesOptions{Node: thisNode, Now: time.Now}, names)
}

func (d *desk) shelf(k kind) *shelf { return &shelf{desk: d, feed: feed{name: k.String(), kind: k}} }

func objects[T runtime.Object](list ...T) []any {
	var out []any
	for _, o := range list {
		out = append(out, o)
	}
	return out
}

// told says what a batch holds of pods and policies.
func told(b policy.Batch) string {
	var out []string
	for _, p := range b.Pods {
		out = append(out, fmt.Sprintf("+%s:%s%v", p.Name, p.UID, p.IPs))
	}
	for _, key := range b.DeletedPods {
		out = append(out, "-"+key.Name)
	}
	for _, p := range b.Policies {
		out = append(out, fmt.Sprintf("+%s=%s", p.Name, p.Subjects.Requirements[0].Values[0]))
	}
	for _, key := range b.DeletedPolicies {
		out = append(out, "-"+key.Name)
	}
	return strings.Join(out, " ")
}

// What happened since the last batch is one state, however many steps led there.
func TestDeskMakesOneBatchOfManySteps(t *testing.T) {
	web := apiPod("web", "u1", "10.0.0.1")
	tombstone := cache.DeletedFinalStateUnknown{Key: "shop/web", Obj: web}
	type step = func(*shelf) error
	add := func(o any) step { return func(s *shelf) error { return s.Add(o) } }
	remove := func(o any) step { return func(s *shelf) error { return s.Delete(o) } }
	replace := func(list ...any) step { return func(s *shelf) error { return s.Replace(list, "") } }
	for _, row := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"another address", []step{add(apiPod("web", "u1", "10.0.0.2"))}, "+web:u1[10.0.0.2]"},
		{"the same again", []step{add(web), add(web)}, ""},
		{"gone", []step{remove(web)}, "-web"},
		{"gone, the last state unknown", []step{remove(tombstone)}, "-web"},
		{"gone and back as another", []step{remove(web), add(apiPod("web", "u2", "10.0.0.1"))}, "+web:u2[10.0.0.1]"},
		{"gone and back as it was", []step{remove(web), add(web)}, ""},
		{"there and back", []step{add(apiPod("web", "u1", "10.0.0.9")), add(web)}, ""},
		{"come and gone", []step{add(apiPod("db", "u3", "")), remove(apiPod("db", "u3", ""))}, ""},
		{"gone twice", []step{remove(web), remove(web)}, "-web"},
		{"listed as it was", []step{replace(web)}, ""},
		{"listed without it", []step{replace()}, "-web"},
		{"come, then listed without it", []step{add(apiPod("db", "u3", "")), replace(web)}, ""},
		{"gone, then listed", []step{remove(web), replace(web)}, ""},
		{"listed as another", []step{replace(apiPod("web", "u4", ""))}, "+web:u4[]"},
		{"listed twice", []step{replace(apiPod("web", "u4", "")), replace(web)}, ""},
		{"its address with another", []step{remove(web), add(apiPod("db", "u3", "10.0.0.1"))}, "+db:u3[10.0.0.1] -web"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := deskOf()
			s := d.shelf(podKind)
			if err := s.Replace(objects(web), ""); err != nil {
				t.Fatal(err)
			}
			if b, _ := d.take(); told(b) != "+web:u1[10.0.0.1]" || !b.Synced {
				t.Fatalf("first batch %s", told(b))
			}
			for _, step := range row.steps {
				if err := step(s); err != nil {
					t.Fatal(err)
				}
			}
			b, empty := d.take()
			if got := told(b); got != row.want || empty != (row.want == "") {
				t.Errorf("batch %q (empty %v), want %q", got, empty, row.want)
			}
			if b, empty := d.take(); !empty {
				t.Errorf("told again: %s", told(b))
			}
		})
	}
}

// Random steps of all kinds with batches taken at random: what was told adds
// up to what is there.
func TestDeskTellsWhatIsThere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	d := deskOf(podKind.String())
	there := map[string]*corev1.Pod{}
	known := map[string]string{}
	pods := d.shelf(podKind)
	take := func() {
		b, _ := d.take()
		for _, p := range b.Pods {
			known[p.Name] = fmt.Sprint(p.UID, p.IPs)
		}
		for _, key := range b.DeletedPods {
			if _, was := known[key.Name]; !was {
				t.Fatalf("%s was deleted, but never told", key.Name)
			}
			delete(known, key.Name)
		}
		for _, p := range b.Pods {
			if slices.Contains(b.DeletedPods, p.ObjectKey) {
				t.Fatalf("%s stands in a batch twice", p.Name)
			}
		}
	}
	for range 20_000 {
		name := fmt.Sprint("p", r.IntN(12))
		switch r.IntN(10) {
		case 0:
			take()
		case 1, 2, 3:
			if p := there[name]; p != nil {
				delete(there, name)
				_ = pods.Delete(p)
			}
		case 4:
			// The watch was away meanwhile.
			for range r.IntN(6) {
				gone := fmt.Sprint("p", r.IntN(12))
				delete(there, gone)
			}
			there[name] = apiPod(name, fmt.Sprint(r.IntN(3)), fmt.Sprintf("10.0.0.%d", 1+r.IntN(3)))
			var list []any
			for _, p := range there {
				list = append(list, p)
			}
			_ = pods.Replace(list, "")
		default:
			there[name] = apiPod(name, fmt.Sprint(r.IntN(3)), fmt.Sprintf("10.0.0.%d", 1+r.IntN(3)))
			_ = pods.Add(there[name])
		}
	}
	_ = pods.Bookmark("1")
	take()
	want := map[string]string{}
	for name, p := range there {
		want[name] = fmt.Sprint(p.UID, "["+p.Status.PodIPs[0].IP+"]")
	}
	if !reflect.DeepEqual(known, want) {
		t.Errorf("told %v, there %v", known, want)
	}
}

func TestDeskWaitsForEveryList(t *testing.T) {
	d := deskOf(podKind.String(), policyKind.String())
	_ = d.shelf(podKind).Replace(objects(apiPod("web", "u1", "")), "")
	if b, empty := d.take(); !empty || b.Synced {
		t.Errorf("told before the policies are known: %s", told(b))
	}
	_ = d.shelf(policyKind).Replace(nil, "")
	if b, _ := d.take(); told(b) != "+web:u1[]" || !b.Synced {
		t.Errorf("first batch %s", told(b))
	}
}

func TestDeskRefusesWhatWasNotAskedFor(t *testing.T) {
	s := deskOf().shelf(podKind)
	if err := s.Add(&corev1.Secret{}); err == nil {
		t.Error("a Secret was taken")
	}
	if err := s.Delete("web"); err == nil {
		t.Error("a text was taken for a deleted object")
	}
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer answers lists and watches over HTTP as an API server does: resource
// versions, streaming lists, bookmarks, 410 Gone, protobuf and JSON. It can be
// stopped and started again on its port, and lose its history.
type apiServer struct {
	t       *testing.T
	address string
	http    *http.Server

	mu        sync.Mutex
	moved     chan struct{} // closed at each change
	cut       chan struct{} // closed to end all watches
	version   int
	objects   map[string]map[string]runtime.Object // by resource and key
	history   []apiChange
	compacted int                 // up to this version no history is known
	streams   bool                // streaming lists
	refuse    int                 // status for every request; 0: none
	mute      map[string]struct{} // resources that are not answered
	asked     []string            // "GET path?query accept agent"
}

type apiChange struct {
	version  int
	event    string
	resource string
	object   runtime.Object
}

var apiLists = map[string]func() runtime.Object{
	"namespaces":      func() runtime.Object { return &corev1.NamespaceList{} },
	"pods":            func() runtime.Object { return &corev1.PodList{} },
	"services":        func() runtime.Object { return &corev1.ServiceList{} },
	"nodes":           func() runtime.Object { return &corev1.NodeList{} },
	"networkpolicies": func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
	"endpointslices":  func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, address: "127.0.0.1:0", moved: make(chan struct{}), cut: make(chan struct{}),
		version: 100, objects: make(map[string]map[string]runtime.Object), streams: true, mute: make(map[string]struct{})}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *apiServer) start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve)}
	go func() { _ = s.http.Serve(listener) }()
}

// stop refuses connections from now on, and drops those that there are.
func (s *apiServer) stop() {
	s.endWatches()
	_ = s.http.Close()
}

func (s *apiServer) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// set changes the server's behaviour.
func (s *apiServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.moved)
	s.moved = make(chan struct{})
}

// forget loses the history, as a compaction of etcd does.
func (s *apiServer) forget() { s.set(func() { s.compacted, s.history = s.version, nil }) }

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *corev1.Namespace:
		return "namespaces"
	case *corev1.Pod:
		return "pods"
	case *corev1.Service:
		return "services"
	case *corev1.Node:
		return "nodes"
	case *networkingv1.NetworkPolicy:
		return "networkpolicies"
	}
	return "endpointslices"
}

// put writes objects, remove deletes them: each a change of its own, seen by a
// watch together with the others of the call.
func (s *apiServer) put(list ...runtime.Object)    { s.write(list, false) }
func (s *apiServer) remove(list ...runtime.Object) { s.write(list, true) }

func (s *apiServer) write(list []runtime.Object, gone bool) {
	s.set(func() {
		for _, o := range list {
			o = o.DeepCopyObject()
			access, err := meta.Accessor(o)
			if err != nil {
				s.t.Fatal(err)
			}
			resource, key := resourceOf(o), access.GetNamespace()+"/"+access.GetName()
			s.version++
			access.SetResourceVersion(strconv.Itoa(s.version))
			if s.objects[resource] == nil {
				s.objects[resource] = make(map[string]runtime.Object)
			}
			event := "ADDED"
			if _, was := s.objects[resource][key]; was {
				event = "MODIFIED"
			}
			s.objects[resource][key] = o
			if gone {
				event = "DELETED"
				delete(s.objects[resource], key)
			}
			s.history = append(s.history, apiChange{s.version, event, resource, o})
		}
	})
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := path[len(path)-1]
	version := schema.GroupVersion{Version: "v1"}
	if path[0] == "apis" {
		version.Group = path[1]
	}
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Accept"), r.UserAgent()))
	refuse := s.refuse
	_, mute := s.mute[resource]
	s.mu.Unlock()
	a := answer{w: w, version: version, media: mediaOf(r)}
	q := r.URL.Query()
	streaming := q.Get("sendInitialEvents") == "true"
	switch {
	case mute:
		<-r.Context().Done()
	case refuse != 0:
		a.status(refuse, metav1.StatusReasonUnknown, "")
	case apiLists[resource] == nil:
		a.status(http.StatusNotFound, metav1.StatusReasonNotFound, "")
	case streaming && !s.streams:
		a.status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden")
	case q.Get("watch") != "":
		s.watch(r.Context(), a, resource, q.Get("resourceVersion"), streaming, q.Get("fieldSelector"))
	default:
		s.list(a, resource, q.Get("fieldSelector"))
	}
}

// selected: the only selector that is asked for is that of a name.
func selected(o runtime.Object, selector string) bool {
	access, _ := meta.Accessor(o)
	name, has := strings.CutPrefix(selector, "metadata.name=")
	return !has || access.GetName() == name
}

func (s *apiServer) list(a answer, resource, selector string) {
	s.mu.Lock()
	list := apiLists[resource]()
	var items []runtime.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects[resource])) {
		if o := s.objects[resource][key]; selected(o, selector) {
			items = append(items, o)
		}
	}
	_ = meta.SetList(list, items)
	access, _ := meta.ListAccessor(list)
	access.SetResourceVersion(strconv.Itoa(s.version))
	s.mu.Unlock()
	a.object(http.StatusOK, list)
}

func (s *apiServer) watch(ctx context.Context, a answer, resource, since string, streaming bool, selector string) {
	from, _ := strconv.Atoi(since)
	s.mu.Lock()
	cut := s.cut
	if from != 0 && from < s.compacted {
		s.mu.Unlock()
		a.status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
		return
	}
	var first []apiChange
	if streaming {
		for _, key := range slices.Sorted(maps.Keys(s.objects[resource])) {
			first = append(first, apiChange{event: "ADDED", resource: resource, object: s.objects[resource][key]})
		}
		from = s.version
		first = append(first, apiChange{event: "BOOKMARK", resource: resource, object: bookmark(resource, from)})
	}
	s.mu.Unlock()
	send := a.stream()
	for _, c := range first {
		if c.event == "BOOKMARK" || selected(c.object, selector) {
			send(c)
		}
	}
	for {
		s.mu.Lock()
		moved, lost := s.moved, from < s.compacted
		var changes []apiChange
		for _, c := range s.history {
			if c.version > from && c.resource == resource && selected(c.object, selector) {
				changes = append(changes, c)
			}
		}
		if !lost {
			from = s.version
		}
		s.mu.Unlock()
		for _, c := range changes {
			send(c)
		}
		select {
		case <-moved:
		case <-cut:
			return
		case <-ctx.Done():
			return
		}
	}
}

func bookmark(resource string, version int) runtime.Object {
	o := map[string]runtime.Object{
		"namespaces": &corev1.Namespace{}, "pods": &corev1.Pod{}, "services": &corev1.Service{}, "nodes": &corev1.Node{},
		"networkpolicies": &networkingv1.NetworkPolicy{}, "endpointslices": &discoveryv1.EndpointSlice{},
	}[resource]
	access, _ := meta.Accessor(o)
	access.SetResourceVersion(strconv.Itoa(version))
	access.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return o
}

// answer writes objects in the encoding that the client prefers.
type answer struct {
	w       http.ResponseWriter
	version schema.GroupVersion
	media   runtime.SerializerInfo
}

func mediaOf(r *http.Request) runtime.SerializerInfo {
	media, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	media, _, _ = strings.Cut(media, ";")
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), media)
	if !ok {
		info, _ = runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	}
	return info
}

func (a answer) encode(o runtime.Object, version schema.GroupVersion, to io.Writer) {
	_ = scheme.Codecs.EncoderForVersion(a.media.Serializer, version).Encode(o, to)
}

func (a answer) object(code int, o runtime.Object) {
	version := a.version
	if _, isStatus := o.(*metav1.Status); isStatus {
		version = schema.GroupVersion{Version: "v1"}
	}
	a.w.Header().Set("Content-Type", a.media.MediaType)
	a.w.WriteHeader(code)
	a.encode(o, version, a.w)
}

func (a answer) status(code int, reason metav1.StatusReason, message string) {
	a.object(code, &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
}

// stream begins a watch.
func (a answer) stream() func(apiChange) {
	a.w.Header().Set("Content-Type", a.media.MediaType+";stream=watch")
	a.w.WriteHeader(http.StatusOK)
	flush := a.w.(http.Flusher).Flush
	flush()
	frames := a.media.StreamSerializer.NewFrameWriter(a.w)
	return func(c apiChange) {
		var raw strings.Builder
		a.encode(c.object, a.version, &raw)
		event := &metav1.WatchEvent{Type: c.event, Object: runtime.RawExtension{Raw: []byte(raw.String())}}
		_ = a.media.StreamSerializer.Encode(event, frames)
		flush()
	}
}

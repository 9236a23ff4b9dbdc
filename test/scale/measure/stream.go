// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// resource is one kind of object and how the agent asks for it (agent/watch,
// package documentation).
type resource struct {
	plural string
	client func(kubernetes.Interface) rest.Interface
	field  string // selector
}

func resources(node string) []resource {
	core := func(c kubernetes.Interface) rest.Interface { return c.CoreV1().RESTClient() }
	return []resource{
		{"namespaces", core, ""},
		{"pods", core, ""},
		{"networkpolicies", func(c kubernetes.Interface) rest.Interface { return c.NetworkingV1().RESTClient() }, ""},
		{"services", core, ""},
		{"endpointslices", func(c kubernetes.Interface) rest.Interface { return c.DiscoveryV1().RESTClient() }, ""},
		{"nodes", core, fields.OneTermEqualSelector(metav1.ObjectNameField, node).String()},
	}
}

// open a watch that begins with the list of what there is.
func (r resource) open(ctx context.Context, client kubernetes.Interface) (io.ReadCloser, error) {
	yes, long := true, int64(3600)
	options := metav1.ListOptions{
		Watch: true, AllowWatchBookmarks: true, SendInitialEvents: &yes, TimeoutSeconds: &long,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, FieldSelector: r.field,
	}
	body, err := r.client(client).Get().Resource(r.plural).VersionedParams(&options, scheme.ParameterCodec).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", r.plural, err)
	}
	return body, nil
}

// endOfList is in the bookmark behind the last object of the list.
var endOfList = []byte(metav1.InitialEventsAnnotationKey)

// maxFrame bounds what is believed of a frame's length.
const maxFrame = 16 << 20

// frames reads a protobuf stream: each event after its length in 4 bytes, most
// significant first.
type frames struct {
	from   io.Reader
	buffer []byte
}

// next is the event, valid until the next call.
func (f *frames) next() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.from, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxFrame {
		return nil, fmt.Errorf("an event of %d bytes: this is no protobuf stream", length)
	}
	if int(length) > cap(f.buffer) {
		f.buffer = make([]byte, length)
	}
	f.buffer = f.buffer[:length]
	_, err := io.ReadFull(f.from, f.buffer)
	return f.buffer, err
}

// endsList says whether an event is the bookmark behind the list.
func endsList(event []byte) bool {
	return len(event) < 4096 && bytes.Contains(event, []byte("BOOKMARK")) && bytes.Contains(event, endOfList)
}

// ended is nil for the errors by which a stream ends when its context does.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

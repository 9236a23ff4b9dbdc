// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
)

// told is an event of a pod and when its last byte had been read, before it was
// decoded.
type told struct {
	at      time.Time
	kind    watch.EventType
	pod     *corev1.Pod
	watcher int
}

// observe pods until the context ends.
func observe(ctx context.Context, client kubernetes.Interface, watcher int, out chan<- told) error {
	pods := resources("")[1]
	body, err := pods.open(ctx, client)
	if err != nil {
		return ended(ctx, err)
	}
	defer body.Close()
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok || info.StreamSerializer == nil {
		return fmt.Errorf("the library reads no streams of %s", runtime.ContentTypeProtobuf)
	}
	stamped := &stamp{ReadCloser: info.StreamSerializer.Framer.NewFrameReader(body)}
	events := streaming.NewDecoder(stamped, info.StreamSerializer.Serializer)
	decoder := restwatch.NewDecoder(events, scheme.Codecs.DecoderToVersion(info.Serializer, corev1.SchemeGroupVersion))
	for {
		kind, object, err := decoder.Decode()
		if err != nil {
			return ended(ctx, fmt.Errorf("watch pods: %w", err))
		}
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("watch pods: an event %s of a %T", kind, object)
		}
		select {
		case out <- told{at: stamped.at, kind: kind, pod: pod, watcher: watcher}:
		case <-ctx.Done():
			return nil
		}
	}
}

// stamp notes when a frame was read.
type stamp struct {
	io.ReadCloser
	at time.Time
}

func (s *stamp) Read(to []byte) (int, error) {
	n, err := s.ReadCloser.Read(to)
	s.at = time.Now()
	return n, err
}

// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// strictServices answer questions: what is not understood must not be left out
// of them. A filter of a newer CLI would otherwise let everything through. The
// Agent service is not among them: a newer CNI plugin may say more about a pod
// than an older agent needs.
func strictServices() []string {
	return []string{weirv1.Flows_ServiceDesc.ServiceName, weirv1.Policies_ServiceDesc.ServiceName}
}

// understood refuses a request of a strict service with a field that this agent
// does not know. Values of enums are for who reads the field.
func understood(method string, req any) error {
	m, ok := req.(proto.Message)
	if !ok || !slices.ContainsFunc(strictServices(), func(s string) bool { return strings.HasPrefix(method, "/"+s+"/") }) {
		return nil
	}
	if what := foreign("", m.ProtoReflect()); what != "" {
		return invalid("%s: this weir-agent does not know it, and leaves nothing out of a request; ask without it, or upgrade the agent", what)
	}
	return nil
}

// foreign names the first field that is not known; empty: all are.
func foreign(path string, m protoreflect.Message) (what string) {
	if raw := m.GetUnknown(); len(raw) > 0 {
		number, _, _ := protowire.ConsumeField(raw)
		return fmt.Sprintf("%sfield number %d of %s", path, number, m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := path + string(f.Name())
		switch {
		case f.Message() == nil || f.IsMap(): // no request has a map
		case f.IsList():
			for i := range v.List().Len() {
				if what = foreign(fmt.Sprintf("%s[%d].", name, i), v.List().Get(i).Message()); what != "" {
					return false
				}
			}
		default:
			what = foreign(name+".", v.Message())
		}
		return what == ""
	})
	return what
}

// strictStream checks what a stream receives, and knows who calls.
type strictStream struct {
	grpc.ServerStream
	method string
	ctx    context.Context
}

// Context implements grpc.ServerStream.
func (s *strictStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *strictStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return understood(s.method, m)
}

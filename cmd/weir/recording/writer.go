// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/weirnet/weir/api/v1"
)

// Writer writes a recording. It buffers nothing from one call to the next.
type Writer struct{ to *bufio.Writer }

// NewWriter writes to to, and does not close it.
func NewWriter(to io.Writer) *Writer { return &Writer{bufio.NewWriter(to)} }

// Write adds the flows of a response, behind its loss if it has one above 0.
func (w *Writer) Write(r *pb.WatchResponse) error {
	if l := r.GetLoss(); l.GetKernel()+l.GetReader()+l.GetLimited() > 0 {
		if err := w.line(&pb.WatchResponse{Loss: l}); err != nil {
			return err
		}
	}
	for _, f := range r.GetFlows() {
		if err := w.line(f); err != nil {
			return fmt.Errorf("flow %d: %w", f.GetSequence(), err)
		}
	}
	if err := w.to.Flush(); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

func (w *Writer) line(m proto.Message) error {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	// protojson varies its spacing from build to build on purpose.
	var line bytes.Buffer
	if err := json.Compact(&line, loose); err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	line.WriteByte('\n')
	if _, err := w.to.Write(line.Bytes()); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

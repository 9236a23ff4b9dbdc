// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/weirnet/weir/api/v1"
)

// longestLine bounds what a line may hold, in bytes. A flow of a pod with the
// 256 KiB that Kubernetes allows its labels and annotations fits in.
const longestLine = 4 << 20

// ErrCutOff is wrapped by the error for a last line without its end: whoever
// wrote the file was stopped meanwhile. All before it was read.
var ErrCutOff = errors.New("the recording is cut off")

// Read yields responses with one flow or one loss each, in the order of the
// lines, until the first error, which names the line.
func Read(from io.Reader) iter.Seq2[*pb.WatchResponse, error] {
	return func(yield func(*pb.WatchResponse, error) bool) {
		lines := bufio.NewScanner(from)
		lines.Buffer(nil, longestLine)
		lines.Split(wholeLines)
		number := 0
		for lines.Scan() {
			number++
			text, whole := bytes.CutSuffix(lines.Bytes(), []byte("\n"))
			if len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			r, err := readLine(text)
			switch {
			case err != nil && !whole:
				yield(nil, fmt.Errorf("%w in line %d, the last", ErrCutOff, number))
				return
			case err != nil:
				yield(nil, fmt.Errorf("line %d is no flow as record or -o json writes it, or one of a newer weir: %w", number, err))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("read line %d: %w", number+1, err))
		}
	}
}

// wholeLines keeps the end of each line, which tells a last line that is cut
// off from one that is whole.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

func readLine(text []byte) (*pb.WatchResponse, error) {
	// Fields that are not known are errors: any JSON object would pass for a
	// flow otherwise.
	if bytes.HasPrefix(text, []byte(`{"loss":`)) {
		r := &pb.WatchResponse{}
		return r, protojson.Unmarshal(text, r)
	}
	f := &pb.Flow{}
	if err := protojson.Unmarshal(text, f); err != nil {
		return nil, err
	}
	return &pb.WatchResponse{Flows: []*pb.Flow{f}, Sequence: f.GetSequence()}, nil
}

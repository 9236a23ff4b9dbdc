// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
)

// decodeStrict refuses what the type does not have. A misspelt field would
// else be skipped, and what it was to limit left open: without the misspelt
// "port: [{port: 443}]" a rule has no ports, which allows all.
func decodeStrict(source []byte, into any) error {
	faults, err := kjson.UnmarshalStrict(source, into)
	if err != nil {
		return err
	}
	var errs []error
	for _, fault := range faults {
		// Dumps from clusters before 1.28 have a status, which the type
		// has no more.
		if path := fieldOf(fault); path != "status" && !strings.HasPrefix(path, "status.") {
			errs = append(errs, plain(fault))
		}
	}
	return errors.Join(errs...)
}

// decodeLax tells unknown fields as notes: objects of these kinds are often
// dumps of a newer cluster.
func decodeLax(source []byte, into any) (notes []string, err error) {
	faults, err := kjson.UnmarshalStrict(source, into)
	for _, fault := range faults {
		notes = append(notes, fmt.Sprintf("%s: %v", fieldOf(fault), plain(fault)))
	}
	return notes, err
}

// fieldOf is the path of the field that an error is about, or "".
func fieldOf(err error) string {
	var field kjson.FieldError
	if errors.As(err, &field) {
		return field.FieldPath()
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return wrong.Field
	}
	return pathOf(err.Error())
}

// plainError keeps the cause for fieldOf and tells it without Go's terms.
type plainError struct {
	cause   error
	message string
}

func (e *plainError) Error() string { return e.message }
func (e *plainError) Unwrap() error { return e.cause }

// plain turns the decoder's words into the manifest's.
func plain(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return &plainError{cause: err, message: fmt.Sprintf("%s: a %s cannot stand here; quote it, or give what the field needs", wrong.Field, wrong.Value)}
	}
	return err
}

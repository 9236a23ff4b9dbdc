// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// Exec runs a command in the pod. A command that ends with an exit code other
// than 0 is no error; one that could not be run is.
func (p *Pod) Exec(ctx context.Context, command ...string) (output string, code int, err error) {
	c := p.namespace.cluster
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.namespace.Name).Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return "", 0, err
	}
	var out, problem bytes.Buffer // each is written by a goroutine of its own
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &problem})
	out.Write(problem.Bytes())
	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		return out.String(), exit.Code, nil
	}
	if err != nil {
		return out.String(), 0, fmt.Errorf("exec %s in %s: %w", strings.Join(command, " "), p, err)
	}
	return out.String(), 0, nil
}

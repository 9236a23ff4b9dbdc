// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is an API server and the way to it.
type Cluster struct {
	Client kubernetes.Interface
	Server string // its address, for messages
}

// Connect prepares the client; it sends nothing yet. An empty kubeconfig
// stands for the ServiceAccount of the pod that this is. The user agent is how
// the server's log and metrics name the agent.
func Connect(kubeconfig, userAgent string) (Cluster, error) {
	config, err := load(kubeconfig)
	if err != nil {
		return Cluster{}, err
	}
	config.UserAgent = userAgent
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	// The server has its own way to slow clients down (priority and fairness).
	// A limit here would only delay the first lists.
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Cluster{}, fmt.Errorf("client of %s: %w", config.Host, err)
	}
	return Cluster{Client: client, Server: config.Host}, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("there is no source of policies: this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set), and neither --manifests nor --kubeconfig is given; give one of them")
		}
		if err != nil {
			return nil, fmt.Errorf("the pod's ServiceAccount cannot be used: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}

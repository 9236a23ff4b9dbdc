// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"time"
)

// backendLimit is how long a proxy waits for a connection to its backend.
const backendLimit = 2 * time.Second

// Proxy serves TLS with the certificate of a folder, as a Secret of type
// kubernetes.io/tls is mounted, and hands every request to a backend: an ingress
// controller with one rule. A backend that cannot be reached is a bad gateway.
func Proxy(ctx context.Context, port int, folder string, backend *url.URL) error {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.SetXForwarded()
		},
		// Each request on a connection of its own: an open one would outlive a
		// change of Endpoints.
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: backendLimit}).DialContext},
	}
	server := &http.Server{Addr: fmt.Sprintf(":%d", port), Handler: proxy, ReadHeaderTimeout: backendLimit}
	ended := make(chan error, 1)
	go func() {
		ended <- server.ListenAndServeTLS(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/weirnet/weir/test/cluster/layout"
)

const endLimit = time.Second // for components that are told to end

// Parts of a control plane that run.
type Parts int

const (
	Whole Parts = iota
	// Alone are etcd and the API server: nothing schedules, collects garbage or
	// makes ServiceAccounts.
	Alone
)

// Run the control plane until the context ends, or one of its parts does.
func Run(ctx context.Context, s layout.Settings, parts Parts) error {
	// Each component applies its logging settings, to one process.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	etcd, err := startEtcd(filepath.Join(s.State, "etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()

	ended := make(chan error, 3)
	run := func(name string, component func(context.Context) error) {
		go func() { ended <- fmt.Errorf("%s ended: %w", name, component(ctx)) }()
	}
	run("API server", command(apiserver.NewAPIServerCommand(), apiServerArguments(s)))
	if err := awaitAPI(ctx, s, ended); err != nil {
		return err
	}
	if parts == Whole {
		run("controller manager", command(controllermanager.NewControllerManagerCommand(), controllerManagerArguments(s)))
		run("scheduler", func(ctx context.Context) error { return runScheduler(ctx, schedulerArguments(s)) })
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select { // the API server ends in its own order, and etcd after it
	case <-ended:
	case <-time.After(endLimit):
	}
	return nil
}

func command(c *cobra.Command, args []string) func(context.Context) error {
	c.SetArgs(args)
	c.SilenceUsage = true
	return c.ExecuteContext
}

// runScheduler without the scheduler's own command: that installs a second
// handler of signals, which panics in a process that has one.
func runScheduler(ctx context.Context, args []string) error {
	options := scheduleroptions.NewOptions()
	flags := pflag.NewFlagSet("scheduler", pflag.ContinueOnError)
	for _, set := range options.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, s, err := scheduler.Setup(ctx, options)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, s)
}

// awaitAPI until the API server is ready; the other components end when they
// start without it.
func awaitAPI(ctx context.Context, s layout.Settings, ended <-chan error) error {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(s.PKI(), "admin.crt"), filepath.Join(s.PKI(), "admin.key"))
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(filepath.Join(s.PKI(), "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return errors.New("ca.crt holds no certificate")
	}
	client := &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: pool}},
	}
	defer client.CloseIdleConnections()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		response, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/readyz", layout.APIPort))
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
		}
	}
}

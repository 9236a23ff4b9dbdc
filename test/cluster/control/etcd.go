// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	etcdClient = "http://127.0.0.1:2379"
	etcdPeer   = "http://127.0.0.1:2380"
	etcdLimit  = time.Minute
)

// startEtcd without waiting for the disk: what a crash of the machine loses is
// a test's.
func startEtcd(dir string) (*embed.Etcd, error) {
	client, err := url.Parse(etcdClient)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(etcdPeer)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-etcd.Server.StopNotify():
		err = errors.New("etcd ended while it started")
	case <-time.After(etcdLimit):
		err = fmt.Errorf("etcd was not ready within %s", etcdLimit)
	}
	etcd.Close()
	return nil, err
}

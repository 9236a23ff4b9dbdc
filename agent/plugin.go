// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirnet/weir/agent/cni"
	"github.com/weirnet/weir/agent/kube"
)

// CNIOptions say where and how the plugin weir-cni is installed.
type CNIOptions struct {
	Preset    string        // none, or a distribution, see cni.Presets
	ConfDir   string        // empty: the preset's
	BinDir    string        // empty: the preset's
	Binary    string        // empty: beside the agent's own
	Failure   string        // closed, open
	Timeout   time.Duration // of one ADD
	DaemonSet string        // namespace/name of the agent's own; empty: the plugin stays when the agent ends
}

// noPlugin is the preset that installs nothing.
const noPlugin = "none"

func defaultCNI() CNIOptions {
	return CNIOptions{Preset: noPlugin, Failure: "closed", Timeout: 10 * time.Second}
}

func (o *CNIOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Preset, "cni-preset", o.Preset, "install the chained plugin weir-cni in the folders of: none, "+strings.Join(cni.PresetNames(), ", "))
	fs.StringVar(&o.ConfDir, "cni-conf-dir", o.ConfDir, "folder of CNI configurations; empty: the preset's")
	fs.StringVar(&o.BinDir, "cni-bin-dir", o.BinDir, "folder of CNI plugins; empty: the preset's")
	fs.StringVar(&o.Binary, "cni-binary", o.Binary, "the weir-cni that is installed; empty: the one beside weir-agent")
	fs.StringVar(&o.Failure, "cni-failure", o.Failure, "a pod whose policy is not in force within --cni-timeout: closed (is not started) or open (is started)")
	fs.DurationVar(&o.Timeout, "cni-timeout", o.Timeout, "how long the start of a pod waits for its policy")
	fs.StringVar(&o.DaemonSet, "cni-daemonset", o.DaemonSet, "namespace/name of the agent's own DaemonSet: when the agent ends and that is gone, the plugin is taken out of the CNI configuration")
}

func (o *CNIOptions) validate() error {
	var errs []error
	if allowed := append([]string{noPlugin}, cni.PresetNames()...); !slices.Contains(allowed, o.Preset) {
		errs = append(errs, fmt.Errorf("--cni-preset is %q; it may be %s", o.Preset, strings.Join(allowed, " or ")))
	}
	if o.Preset == noPlugin && (o.ConfDir != "" || o.BinDir != "") {
		errs = append(errs, errors.New("--cni-conf-dir and --cni-bin-dir change a preset; name one with --cni-preset, e.g. default"))
	}
	if o.Failure != "closed" && o.Failure != "open" {
		errs = append(errs, fmt.Errorf("--cni-failure is %q; it may be closed or open", o.Failure))
	}
	if o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("--cni-timeout is %s; give a time above 0, e.g. 10s", o.Timeout))
	}
	if _, _, err := o.daemonSet(); o.DaemonSet != "" && err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (o *CNIOptions) daemonSet() (namespace, name string, err error) {
	namespace, name, ok := splitKey(o.DaemonSet)
	if !ok {
		return "", "", fmt.Errorf("--cni-daemonset is %q; give it as weir-system/weir-agent", o.DaemonSet)
	}
	return namespace, name, nil
}

func splitKey(key string) (namespace, name string, ok bool) {
	namespace, name, ok = strings.Cut(key, "/")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, "/")
}

// AwaitCleanup returns when the DaemonSet namespace/name has cleaned every node.
func AwaitCleanup(ctx context.Context, daemonSet, version string) error {
	namespace, name, ok := splitKey(daemonSet)
	if !ok {
		return fmt.Errorf("--await is %q; give it as weir-system/weir-cleanup", daemonSet)
	}
	cluster, err := kube.Connect("", "weir-agent/"+version)
	if err != nil {
		return err
	}
	return cluster.AwaitDaemonSet(ctx, namespace, name)
}

// newPlugin is nil if no plugin is asked for.
func newPlugin(o Options, log *slog.Logger) (*cni.Installer, error) {
	if o.CNI.Preset == noPlugin {
		return nil, nil
	}
	preset, _ := cni.FindPreset(o.CNI.Preset) // Validate has checked it
	binary := o.CNI.Binary
	if binary == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find weir-cni: %w; name it with --cni-binary", err)
		}
		binary = filepath.Join(filepath.Dir(own), cni.PluginType)
	}
	co := cni.Options{
		ConfDir: preset.ConfDir, BinDir: preset.BinDir, Binary: binary, Socket: o.Socket,
		Failure: o.CNI.Failure, Timeout: o.CNI.Timeout, Now: time.Now,
	}
	if o.CNI.ConfDir != "" {
		co.ConfDir = o.CNI.ConfDir
	}
	if o.CNI.BinDir != "" {
		co.BinDir = o.CNI.BinDir
	}
	return cni.NewInstaller(co, log)
}

// keepPlugin installs it once the agent can answer it: before, every start of a
// pod would wait for nothing.
func keepPlugin(ctx context.Context, plugin *cni.Installer, ctl *controller, st *state) error {
	select {
	case <-ctx.Done():
		return nil
	case <-ctl.inspectable:
	}
	return plugin.Run(ctx, func(_ string, err error) { st.set(conditionCNI, true, err, 0) })
}

// removedLimit is below the grace period of a pod, 30 s, and above the time for
// which the API server knows the token of a ServiceAccount that is gone, 10 s.
const removedLimit = 15 * time.Second

// leavePlugin takes the plugin out if weir is being removed. Without an agent a
// plugin that fails closed lets no pod start.
func leavePlugin(ctx context.Context, plugin *cni.Installer, o Options, version string, log *slog.Logger) error {
	if o.CNI.DaemonSet == "" {
		return nil
	}
	namespace, name, err := o.CNI.daemonSet()
	if err != nil {
		return err
	}
	cluster, err := kube.Connect(o.Kubeconfig, "weir-agent/"+version)
	if err != nil {
		return fmt.Errorf("is weir being removed? the CNI plugin stays: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removedLimit)
	defer cancel()
	removed, err := cluster.Removed(ctx, namespace, name)
	if err != nil {
		log.Warn("cannot tell whether weir is being removed; the CNI plugin stays", "error", err)
		return nil
	}
	if !removed {
		return nil
	}
	log.Info("weir is being removed from the cluster: the CNI plugin is taken out", "daemonset", o.CNI.DaemonSet)
	return plugin.Leave()
}

// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/node"
)

// requirePrometheus finds the server that the Debian package brings.
func requirePrometheus(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err == nil {
		return path
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("needs prometheus (make packages-metrics), and WEIR_KERNEL_TESTS=1 forbids to skip")
	}
	t.Skip("needs prometheus: make packages-metrics installs it")
	return ""
}

// A real Prometheus scrapes the agent and answers what an operator asks.
func TestPrometheus(t *testing.T) {
	node.RequireKernel(t)
	path := requirePrometheus(t)
	// The kernel counts runs of programs for as long as this is open.
	statistics, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer statistics.Close()
	s := newStage(t, "--rule-metrics")
	const packets = 70
	conn, err := s.stranger.Dial("udp", netip.AddrPortFrom(s.web.Addrs[0], 9), answer)
	s.must(err)
	defer conn.Close()
	for range packets {
		_, err := conn.Write([]byte("nobody listens"))
		s.must(err)
	}
	s.must(s.frontend.Try("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer))
	query := s.prometheus(path)
	for _, row := range []struct {
		query   string
		holds   func(float64) bool
		meaning string
	}{
		{`up`, func(v float64) bool { return v == 1 }, "is 1"},
		{`weir_ready`, func(v float64) bool { return v == 1 }, "is 1"},
		{`count(weir_build_info)`, func(v float64) bool { return v == 1 }, "is 1"},
		{`sum(weir_dropped_packets_total{namespace="shop",pod="web",verdict="denied",reason="no-rule"})`, func(v float64) bool { return v == packets }, "is the packets sent"},
		{`sum(weir_dropped_bytes_total{pod="web",reason="no-rule"})`, func(v float64) bool { return v == packets*(20+8+14) }, "is the bytes sent, IPv4 and UDP headers included"},
		{`sum(weir_packets_total{direction="ingress",reason="rule"})`, func(v float64) bool { return v >= 1 }, "at least the first packet of the connection"},
		{`sum(weir_rule_flows_total{policy="allow-web",rule="0"})`, func(v float64) bool { return v == 1 }, "is the connection"},
		{`sum(weir_rule_packets_total{policy="allow-web"})`, func(v float64) bool { return v >= 8 }, "a connection's packets"},
		{`weir_map_entries{map="flows"} / weir_map_capacity{map="flows"}`, func(v float64) bool { return v > 0 && v < 1 }, "between 0 and 1"},
		{`sum(weir_events_emitted_total)`, func(v float64) bool { return v >= 3 }, "the events"},
		{`sum(weir_events_lost_total)`, func(v float64) bool { return v == 0 }, "none lost"},
		{`weir_events_sample{ring="allowed"}`, func(v float64) bool { return v == 1 }, "each event is told"},
		{`weir_policy_generation`, func(v float64) bool { return v >= 1 }, "a policy was applied"},
		{`histogram_quantile(0.5, sum by (le) (weir_policy_apply_duration_seconds_bucket))`, func(v float64) bool { return v > 0 && v < 10 }, "a time"},
		{`sum(weir_program_runs_total)`, func(v float64) bool { return v >= packets }, "the programs ran for each packet"},
		{`sum(weir_program_run_seconds_total)`, func(v float64) bool { return v > 0 && v < 10 }, "a time"},
		{`weir_subscribers`, func(v float64) bool { return v == 1 }, "the view"},
		{`sum(weir_endpoints{state="enforced"})`, func(v float64) bool { return v == 3 }, "the pods"},
	} {
		s.until(row.query, func(ctx context.Context) error {
			v, err := query(ctx, row.query)
			if err == nil && !row.holds(v) {
				err = fmt.Errorf("%v: not %s", v, row.meaning)
			}
			return err
		})
	}
	// The series of a policy and of a pod go with it.
	s.must(os.Remove(filepath.Join(s.agent.Dir, "manifests/policy.yaml")))
	s.until("series of a policy that is gone", func(ctx context.Context) error {
		v, err := query(ctx, `count({__name__=~"weir_(rule|policy_denials)_.*",policy="allow-web"}) or vector(0)`)
		if err == nil && v != 0 {
			err = fmt.Errorf("%v series", v)
		}
		return err
	})
	s.must(s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, s.pods[1:])))
	s.until("series of a pod that is gone", func(ctx context.Context) error {
		v, err := query(ctx, `count(weir_dropped_packets_total{pod="web"}) or vector(0)`)
		if err == nil && v != 0 {
			err = fmt.Errorf("%v series", v)
		}
		return err
	})
}

// prometheus runs beside the agent, and returns how to ask it.
func (s *stage) prometheus(path string) func(context.Context, string) (float64, error) {
	dir := s.t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	s.must(os.WriteFile(config, []byte("global: {scrape_interval: 500ms, scrape_timeout: 400ms}\nscrape_configs:\n- job_name: weir\n  static_configs: [{targets: ['127.0.0.1:9965']}]\n"), 0o600))
	command := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:9090", "--log.level=error")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.must(s.node.Do(command.Start))
	s.cleanup(func() error { return node.End(command) })
	web := &http.Client{Timeout: answer, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return s.node.Dial("tcp", netip.MustParseAddrPort("127.0.0.1:9090"), answer)
		},
	}}
	s.cleanup(func() error { web.CloseIdleConnections(); return nil })
	return func(ctx context.Context, query string) (float64, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://prometheus/api/v1/query?query="+url.QueryEscape(query), nil)
		if err != nil {
			return 0, err
		}
		return ask(web, request)
	}
}

// ask returns the one sample of the answer.
func ask(web *http.Client, request *http.Request) (float64, error) {
	response, err := web.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("answer %s: %w", response.Status, err)
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("%d samples %s", len(answer.Data.Result), answer.Error)
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	return strconv.ParseFloat(text, 64)
}

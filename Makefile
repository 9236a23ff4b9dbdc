# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the machine needs, as Debian 12 packages. Each target asks for its own.
# iptables and nftables: test/service writes the rules of kube-proxy with them.
# containernetworking-plugins: test/chain runs weir-cni behind them. ipset:
# test/bench/traffic compares with it.
PACKAGES_RUN := iproute2 iptables nftables containernetworking-plugins ipset
PACKAGES_GENERATE := clang-19 clang-format-19 libbpf-dev linux-libc-dev protobuf-compiler
CLANG_VERSION := 19.1.7
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
STATICCHECKS := all,-ST1000,-ST1003,-ST1016,-ST1020,-ST1021,-ST1022
BUF := github.com/bufbuild/buf/cmd/buf@v1.75.0
ERRORLINT := github.com/polyfloyd/go-errorlint@v1.8.0

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
BIN := .bin
# One setting for builds and tests, so that they share a build cache.
export CGO_ENABLED ?= 0

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build weir-agent and weir into .bin/
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: packages-run build ## A node out of network namespaces: policies, verdicts, audit, live change (root; KEEP=1 leaves it running)
	@go build -o $(BIN)/weir-demo ./test/demo
	@WEIR_BIN=$(CURDIR)/$(BIN) KEEP=$(KEEP) $(BIN)/weir-demo

.PHONY: test
test: packages-run packages-generate packages-metrics ## All tests that fit this machine; as root also those with real programs and packets
	go test -timeout 20m $(TESTFLAGS) ./...

.PHONY: test-race
test-race: ## The packages with goroutines, under the race detector
	CGO_ENABLED=1 go test -race -timeout 20m ./agent ./agent/kube ./agent/watch ./agent/endpoint ./flows/... ./api/... ./cmd/...

# bench
# Each but bench-latency writes JSON into test/bench/out; bench-report makes test/bench/REPORT.md
# of what is there. Other work on the machine spoils the figures. QUICK=1: few
# rounds, to try it.
WEIR_BENCH = $(BIN)/weir-bench -commit '$(VERSION)' -bin $(BIN) $(if $(QUICK),-quick)
.PHONY: bench bench-build bench-packets bench-traffic bench-control bench-change bench-latency bench-report
bench: bench-packets bench-control bench-traffic bench-change bench-latency bench-report ## All benchmarks and their page (root; an hour on a quiet machine; QUICK=1: minutes)

bench-build: build
	go build -o $(BIN)/weir-bench ./test/bench/weir-bench

bench-packets: bench-build ## What a packet costs over an empty program (root)
	$(WEIR_BENCH) packets

bench-control: bench-build ## Resolve, compile, apply in clusters of up to 100,000 pods (root)
	$(WEIR_BENCH) control

bench-traffic: packages-run bench-build ## Connections under weir, iptables and nftables, to a baseline (root)
	$(WEIR_BENCH) traffic

bench-change: bench-build ## From a policy's rename(2) to the first packet under it, and what the machine adds (root)
	$(WEIR_BENCH) change

bench-latency: ## Benchmarks of single packages; no JSON, not in the page
	go test -run '^$$' -bench . -benchtime 2s ./policy/... ./flows

bench-report: ## Make test/bench/REPORT.md and its plots of the results
	go run -C test/bench/report .

.PHONY: generate
generate: packages-generate ## Make the BPF objects, their Go types and the protobuf code again
	@clang-19 --version | grep -q 'version $(CLANG_VERSION) ' || { echo "clang-19 is not $(CLANG_VERSION): the objects would differ; install that release of Debian's clang-19" >&2; exit 1; }
	@mkdir -p $(BIN)
	go generate ./bpf ./test/bench/packets ./test/bench/floor
	go build -o $(BIN)/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(CURDIR)/$(BIN):$$PATH protoc -I api/v1 --go_out=paths=source_relative:api/v1 --go-grpc_out=paths=source_relative:api/v1 api/v1/weir.proto
	cd api && go run $(BUF) breaking --against baseline.binpb && go run $(BUF) build --exclude-source-info -o baseline.binpb

.PHONY: check-generate
check-generate: generate ## Fail if the committed generated files are not what the sources make
	@git diff --exit-code --stat -- bpf api test/bench/packets test/bench/floor || { echo "generated files differ from the sources: run make generate and commit" >&2; exit 1; }

.PHONY: lint
lint: lint-modules ## gofmt, go vet, staticcheck, errorlint, buf (API: lint, breaking changes), clang-format
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:" $$out >&2; exit 1; }
	go vet ./...
	go run $(STATICCHECK) -checks '$(STATICCHECKS)' ./...
	go run $(ERRORLINT) ./...
	cd api && go run $(BUF) lint && go run $(BUF) breaking --against baseline.binpb
	@if command -v clang-format-19 >/dev/null; then clang-format-19 --dry-run --Werror bpf/src/*.[ch] test/bench/packets/src/*.c test/bench/floor/src/*.c; else echo "clang-format-19 is not installed: C not checked (make packages-generate installs it)"; fi

# The other modules. Packages that hold Kubernetes itself are left out: reading
# them takes minutes.
LINT_MODULES := deploy/tool test/bench/report test/e2e test/cluster test/scale
LINT_LEFT_OUT := /cmd/(weir-kubernetes|agnhost)$$|/control$$|/netpol$$
.PHONY: lint-modules
lint-modules: ## go vet, staticcheck and errorlint of the other Go modules
	@set -e; for module in $(LINT_MODULES); do echo "lint $$module"; cd $(CURDIR)/$$module; packages=$$(go list ./... | grep -Ev '$(LINT_LEFT_OUT)'); \
		go vet $$packages; go run $(STATICCHECK) -checks '$(STATICCHECKS)' $$packages; go run $(ERRORLINT) $$packages; done
	go vet -tags cluster ./agent/watch ./agent/kube
	go vet -tags long ./test/observe

.PHONY: arm64
arm64: ## Build everything for arm64
	GOARCH=arm64 go build ./...

# kernels
KERNELS ?= 5.10 6.1 6.12 newest
PACKAGES_KERNELS := qemu-system-x86 xz-utils zstd
.PHONY: test-kernels packages-kernels
test-kernels: packages-kernels ## The kernel tests on older and newer kernels in QEMU; KERNELS="5.10 newest", PROGRAMS="bpf", REFRESH=1 downloads them again
	WEIR_BOOT_KERNELS=1 go test -count=1 -v -timeout 180m -run TestKernels ./test/kernel -kernels '$(KERNELS)' $(if $(PROGRAMS),-programs '$(PROGRAMS)') $(if $(REFRESH),-refresh)

packages-kernels:
	@missing=; for p in $(PACKAGES_KERNELS); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing Debian packages:$$missing"; apt-get -o DPkg::Lock::Timeout=400 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends $$missing >/dev/null; }

# mutants
.PHONY: mutants
mutants: packages-generate ## Break the compiler and the programs line by line; a test must fail each time (root; SAMPLE=6 SEED=1, ONLY=regexp, REPORT=file, JSON=file, RESUME=file)
	go run ./test/mutants $(if $(SAMPLE),-sample $(SAMPLE)) $(if $(SEED),-seed $(SEED)) $(if $(ONLY),-only '$(ONLY)') $(if $(REPORT),-report $(REPORT)) $(if $(JSON),-json $(JSON)) $(if $(RESUME),-resume $(RESUME))

.PHONY: packages-run packages-generate
packages-run packages-generate: packages-%:
	@missing=; for p in $(if $(filter run,$*),$(PACKAGES_RUN),$(PACKAGES_GENERATE)); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing Debian packages:$$missing"; apt-get -o DPkg::Lock::Timeout=400 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=400 install -y -qq $$missing >/dev/null; }

# fuzzing
FUZZTIME ?= 60s
.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME=60s: policies, packets, manifests, events, output (root for the programs)
	@for t in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs grep -H '^func Fuzz' | sed 's|^\./\(.*\)/[^/]*_test.go:func \(Fuzz[A-Za-z]*\).*|\1:\2|'); do \
		echo "fuzz $${t#*:} in $${t%:*}"; go test -run '^$$' -fuzz "^$${t#*:}$$" -fuzztime $(FUZZTIME) ./$${t%:*} || exit 1; done

# metrics
.PHONY: packages-metrics
packages-metrics: ## Install prometheus, which test/observe asks; its service is not left running
	@dpkg-query -W -f '$${Status}' prometheus 2>/dev/null | grep -q 'ok installed' || { echo "installing Debian packages: prometheus"; apt-get -o DPkg::Lock::Timeout=400 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends prometheus >/dev/null; \
	! command -v systemctl >/dev/null || systemctl disable --now prometheus >/dev/null 2>&1 || true; }

# Rates and times are as good as the machine is quiet: the last column is its
# load average. LONG=1 measures for a minute where a test takes seconds.
.PHONY: figures-observe
figures-observe: packages-run ## What observing costs, and what is exact: events, agent's CPU, floods, memory, drop counters (root; LONG=1)
	@mkdir -p $(BIN); go test -count=1 -v -timeout 60m $(if $(LONG),-tags long) -run '^Test(Events|Cost|LossIsTold|FloodOfDenials|Counts|ActiveShown|ExpiredShown)$$' ./test/observe $(if $(LONG),-long) >$(BIN)/figures-observe.log 2>&1 || { cat $(BIN)/figures-observe.log >&2; exit 1; }
	@go test -count=1 -v -run '^TestMemoryOf' ./flows >>$(BIN)/figures-observe.log 2>&1 || { cat $(BIN)/figures-observe.log >&2; exit 1; }
	@sed -n 's/^ *[a-z_]*\.go:[0-9]*: figure: //p' $(BIN)/figures-observe.log

# hostile packets
PACKETS ?= 10000000
.PHONY: test-packets
test-packets: ## Random hostile frames through the programs (root); PACKETS=10000000, WEIR_RANDOM_SEED repeats a run
	WEIR_KERNEL_TESTS=1 WEIR_RANDOM_PACKETS=$(PACKETS) go test -count=1 -v -timeout 120m -run TestRandomPackets ./test/hostile

# images
IMAGE ?= weirnet/weir:$(shell awk '/^appVersion:/{print $$2}' deploy/chart/Chart.yaml)
IMAGE_DIR ?= $(BIN)/image
PACKAGES_DEPLOY := ruby iproute2 containernetworking-plugins
VAGRANT_PACKAGES := test/kernel/probe bpf test/packet agent/datapath agent/endpoint test/netns test/scenario
.PHONY: images install-yaml test-deploy vagrant-binaries packages-deploy
images: ## The container image for amd64 and arm64, without Docker: .bin/image/oci and tars for `ctr images import`
	@for arch in amd64 arm64; do GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/image-files/$$arch/ ./cmd/weir-agent ./cmd/weir-cni ./cmd/weir; done
	go -C deploy/tool run . image -bin $(CURDIR)/$(BIN)/image-files -out $(abspath $(IMAGE_DIR)) -tag '$(IMAGE)' -commit '$(VERSION)'

install-yaml: ## Render deploy/install.yaml and deploy/cleanup.yaml from the chart
	go -C deploy/tool run . manifests -chart ../chart -out ..

test-deploy: packages-deploy ## Chart (helm's linter, schema, rights), manifests, image, kind and Vagrant files; the CNI plugin with a real agent (root)
	go -C deploy/tool test $(TESTFLAGS) ./...
	go test -count=1 $(TESTFLAGS) ./agent/cni ./agent/kube ./cmd/weir-cni ./test/chain

vagrant-binaries: images e2e-image ## What deploy/vagrant runs in its machines: test binaries, the cluster's tools, Go
	@mkdir -p $(BIN)/vagrant; printf '%s\n' $(VAGRANT_PACKAGES) >$(BIN)/vagrant/packages
	@for p in $(VAGRANT_PACKAGES); do go test -c -o $(BIN)/vagrant/$${p//\//-}.test ./$$p; done
	go -C test/cluster build -o $(CURDIR)/$(BIN)/vagrant/ ./cmd/weir-cluster k8s.io/kubernetes/cmd/kubectl
	go -C test/e2e test -c -o $(CURDIR)/$(BIN)/vagrant/e2e.test .
	rm -rf $(BIN)/vagrant/go && cp -a "$$(go env GOROOT)" $(BIN)/vagrant/go

packages-deploy:
	@missing=; for p in $(PACKAGES_DEPLOY); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing Debian packages:$$missing"; apt-get -o DPkg::Lock::Timeout=400 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends $$missing >/dev/null; }

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BIN)

# cluster
PACKAGES_CLUSTER := containerd runc containernetworking-plugins iptables nftables conntrack util-linux
CLUSTER := $(CURDIR)/$(BIN)/weir-cluster
CNIS ?= ptp bridge
UPSTREAM ?= 1
.PHONY: cluster cluster-down cluster-tool kubectl test-cluster packages-cluster
cluster: packages-cluster cluster-tool ## A real Kubernetes of two nodes on this machine (root); CNI=ptp|bridge PROXY=nftables|iptables FAMILIES=dual|ipv4 NODES=2
	@$(CLUSTER) up --source test/cluster $(if $(CNI),--cni $(CNI)) $(if $(PROXY),--proxy $(PROXY)) $(if $(FAMILIES),--families $(FAMILIES)) $(if $(NODES),--nodes $(NODES))

cluster-down: cluster-tool ## End the cluster and remove all of it
	@$(CLUSTER) down

cluster-tool:
	@go -C test/cluster build -o $(CLUSTER) ./cmd/weir-cluster

kubectl: ## Build kubectl of the cluster's version into .bin/
	go -C test/cluster build -o $(CURDIR)/$(BIN)/kubectl k8s.io/kubernetes/cmd/kubectl

.PHONY: e2e e2e-ci e2e-tools e2e-image e2e-viewers
E2E_VARIANTS = $(if $(filter ptp,$(CNIS)),ptp:nftables:dual) $(if $(filter bridge,$(CNIS)),bridge:iptables:ipv4)
# The rows of CI. TestRollingUpdate is not among them: between two layouts of
# the flow table an answer may be dropped once (README, Limits), which the row
# takes for a failure. It passed 20 times of 20.
E2E_CI_ROWS := ^Test(ProbesThroughDefaultDeny|PodToPod|ClusterIP|NodePortFromOutside|Traffic|AgentProcessKilled|DNS|GeneratedPolicies)$$
e2e-image: cluster-tool ## The image of the pods that call without pause: .bin/traffic.tar
	go -C test/e2e build -o $(CURDIR)/$(BIN)/ ./cmd/...
	$(CLUSTER) image --output $(BIN)/traffic.tar --tag weir.test/traffic:1 $(BIN)/weir-traffic

e2e-viewers:
	@mkdir -p $(BIN)/viewers
	go -C deploy/tool run . manifests -chart ../chart -values $(CURDIR)/test/e2e/viewers.yaml -out $(CURDIR)/$(BIN)/viewers

# weir with other layouts of its maps, for the rolling update.
OTHER_IMAGE := weir.test/weir-other:1
e2e-tools: packages-generate e2e-image e2e-viewers build
	go -C test/e2e test ./traffic ./cmd/...
	go -C test/e2e test -c -o $(CURDIR)/$(BIN)/e2e.test .
	go -C test/cluster/coredns build -ldflags '-s -w' -o $(CURDIR)/$(BIN)/coredns .
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/weir-cni
	$(CLUSTER) image --output $(BIN)/weir-e2e.tar --tag '$(IMAGE)' $(BIN)/weir-agent $(BIN)/weir $(BIN)/weir-cni
	go run ./test/variant/weir-variant -out $(BIN)/other
	$(CLUSTER) image --output $(BIN)/weir-other.tar --tag '$(OTHER_IMAGE)' $(BIN)/other/weir-agent $(BIN)/other/weir $(BIN)/other/weir-cni
	$(CLUSTER) image --output $(BIN)/coredns.tar --tag weir.test/coredns:1 $(BIN)/coredns
	@for p in watch kube; do go test -c -tags cluster -o $(BIN)/$$p-cluster.test ./agent/$$p; done

# The first run is the control: on a cluster without weir the same rows must
# see traffic that policy denies, or they prove nothing. After a failure the
# cluster stays for a look; the next run, or make cluster-down, removes it.
e2e: packages-cluster e2e-tools ## weir's own rows and the upstream suite, on a fresh cluster for each CNI, and test/e2e/REPORT.md (root); CNIS="ptp bridge", ROWS=regexp, UPSTREAM= leaves the upstream suite out
	$(if $(UPSTREAM),go -C test/cluster test -c -ldflags '-s -w' -o $(CURDIR)/$(BIN)/netpol.test ./netpol)
	code=0; KEEP=1 OTHER_IMAGE='$(OTHER_IMAGE)' ROWS='$(ROWS)' UPSTREAM='$(UPSTREAM)' test/e2e/run.sh $(E2E_VARIANTS) || code=$$?; \
	$(BIN)/weir-e2e-report -results $(BIN)/e2e -exclusions test/cluster/netpol/exclusions.txt -page test/e2e/REPORT.md || code=1; exit $$code

e2e-ci: packages-cluster e2e-tools ## The rows of CI, on one cluster that is always taken down (root)
	OTHER_IMAGE='$(OTHER_IMAGE)' ROWS='$(E2E_CI_ROWS)' test/e2e/run.sh ptp:nftables:dual

# scale
# SCALE passes flags, e.g. SCALE="-nodes 50 -pods 1000 -policies 150 -namespaces
# 30 -local 30 -churn 30s"; weir-scale -help lists them. Its namespaces, folders
# and processes are its own: a cluster may run beside it, but spoils figures.
WEIR_SCALE = $(BIN)/weir-scale -bin $(BIN) -commit '$(VERSION)' -stages "$$(cd test/scale/kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage"
SCALE_SMALL := -nodes 50 -pods 1000 -policies 150 -namespaces 30 -local 30 -rest 5s -churn 20s -clients-for 5s -clients 20
.PHONY: scale scale-build test-scale
scale-build: build cluster-tool
	go -C test/scale build -o $(CURDIR)/$(BIN)/ ./cmd/weir-scale
	go -C test/scale/kwok build -o $(CURDIR)/$(BIN)/ sigs.k8s.io/kwok/cmd/kwok

scale: packages-run scale-build ## The agent among 1,000 nodes and 10,000 pods that come and go, and what 200 agents cost the API server: test/scale/REPORT.md (root; 20 minutes on a quiet machine)
	$(WEIR_SCALE) $(SCALE)
	$(BIN)/weir-scale -page test/scale/REPORT.md

test-scale: packages-run scale-build ## The tests of the harness of make scale, and one small run of it, which leaves nothing behind (root)
	go -C test/scale test -count=1 ./...
	$(WEIR_SCALE) $(SCALE_SMALL) -result $(BIN)/scale/small.json

.PHONY: test-kubeconfig
test-kubeconfig: e2e-viewers ## The agent's side of the API server, its rights and its viewers, at the one that KUBECONFIG leads to, in namespaces of its own
	WEIR_MANIFESTS=$(CURDIR)/$(BIN)/viewers/install.yaml go test -count=1 -v -tags cluster -run KUBECONFIG ./agent/watch ./agent/kube

test-cluster: packages-cluster ## The tests of the cluster's harness: it leaves nothing behind (root; no cluster may run)
	go -C test/cluster test -count=1 ./binaries ./cgroup ./harness ./image ./layout ./node ./pki ./process
	go -C test/cluster test -count=1 -run '^TestParse' ./netpol # the suite itself needs a cluster: make e2e

packages-cluster:
	@missing=; for p in $(PACKAGES_CLUSTER); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing Debian packages:$$missing"; apt-get -o DPkg::Lock::Timeout=400 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends $$missing >/dev/null; }

# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the machine needs, as Debian 12 packages. Each target asks for its own.
# iptables and nftables: test/service writes the rules of kube-proxy with them.
PACKAGES_RUN := iproute2 iptables nftables
PACKAGES_GENERATE := clang-19 clang-format-19 libbpf-dev linux-libc-dev protobuf-compiler
CLANG_VERSION := 19.1.7
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
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
test: packages-run ## All tests that fit this machine; as root also those with real programs and packets
	go test -timeout 20m $(TESTFLAGS) ./...

.PHONY: test-race
test-race: ## The packages with goroutines, under the race detector
	CGO_ENABLED=1 go test -race -timeout 20m ./agent ./agent/watch ./agent/endpoint ./flows/... ./api/... ./cmd/...

.PHONY: bench
bench: ## Go benchmarks, and the cost of a packet over an empty program (root)
	go test -run '^$$' -bench . -benchtime 2s ./policy/... ./flows
	go test -count=1 -run 'Cost' -v ./test/packet

.PHONY: generate
generate: packages-generate ## Make the BPF objects, their Go types and the protobuf code again
	@clang-19 --version | grep -q 'version $(CLANG_VERSION) ' || { echo "clang-19 is not $(CLANG_VERSION): the objects would differ; install that release of Debian's clang-19" >&2; exit 1; }
	@mkdir -p $(BIN)
	go generate ./bpf
	go build -o $(BIN)/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(CURDIR)/$(BIN):$$PATH protoc -I api/v1 --go_out=paths=source_relative:api/v1 --go-grpc_out=paths=source_relative:api/v1 api/v1/weir.proto

.PHONY: check-generate
check-generate: generate ## Fail if the committed generated files are not what the sources make
	@git diff --exit-code --stat -- bpf api || { echo "generated files differ from the sources: run make generate and commit" >&2; exit 1; }

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, errorlint, clang-format
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:" $$out >&2; exit 1; }
	go vet ./...
	go run $(STATICCHECK) -checks 'all,-ST1000,-ST1003,-ST1016,-ST1020,-ST1021,-ST1022' ./...
	go run $(ERRORLINT) ./...
	@if command -v clang-format-19 >/dev/null; then clang-format-19 --dry-run --Werror bpf/src/*.[ch]; else echo "clang-format-19 is not installed: C not checked (make packages-generate installs it)"; fi

.PHONY: arm64
arm64: ## Build everything for arm64
	GOARCH=arm64 go build ./...

# kernels
KERNELS ?= 5.10 6.1 6.12 newest
PACKAGES_KERNELS := qemu-system-x86 xz-utils zstd
.PHONY: test-kernels packages-kernels
test-kernels: packages-kernels ## The kernel tests on older and newer kernels in QEMU; KERNELS="5.10 newest", REFRESH=1 downloads them again
	WEIR_BOOT_KERNELS=1 go test -count=1 -v -timeout 180m -run TestKernels ./test/kernel -kernels '$(KERNELS)' $(if $(REFRESH),-refresh)

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

# hostile packets
PACKETS ?= 10000000
.PHONY: test-packets
test-packets: ## Random hostile frames through the programs (root); PACKETS=10000000, WEIR_RANDOM_SEED repeats a run
	WEIR_KERNEL_TESTS=1 WEIR_RANDOM_PACKETS=$(PACKETS) go test -count=1 -v -timeout 120m -run TestRandomPackets ./test/hostile

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BIN)

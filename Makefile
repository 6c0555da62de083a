# Slipway. `make demo` shows it at work, `make test` runs the whole suite; both as root on a Debian machine with Go.
BIN ?= bin
GO ?= go
PACKAGES = ./...
LDFLAGS = -s -w
# Without the WebAssembly runtime for NRI plugins, 2.5 MiB that nearly nobody needs (docs/decisions/0009-nri.md).
TAGS = nri_no_wasm
export CGO_ENABLED = 0
# NRI plugins as WebAssembly would link a WebAssembly runtime: 2.6 MB (docs/decisions/0001-dependencies.md).
export GOFLAGS := $(GOFLAGS) -tags=nri_no_wasm

.PHONY: all help build install-deps demo test lint unit test-vm test-race cross clean

all: build

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## the binaries, static, into $(BIN)
	$(GO) build -tags '$(TAGS)' -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

install-deps: ## Debian packages that the demo and the tests use
	hack/install.sh

demo: install-deps build ## a pod from an image made on the spot, and nothing left after
	hack/demo.sh $(BIN)

test: install-deps build lint cross unit ## the whole suite on this machine's kernel

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l agent cmd cri hack oci); [ -z "$$out" ] || { echo "not gofmt-ed:"; echo "$$out"; exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)

cross: ## the other architecture builds
	GOARCH=arm64 $(GO) build -o /dev/null ./cmd/slipway
	GOARCH=arm64 $(GO) build -o /dev/null ./cmd/slipway-monitor
	GOARCH=arm64 $(GO) build -o /dev/null ./cmd/slipway-init
	GOARCH=arm64 $(GO) build -o /dev/null ./cmd/slipway-oci

unit: build ## every test; those that need a kernel of their own run as root
	SLIPWAY_TEST_BIN=$(abspath $(BIN)) $(GO) run ./hack/gotest $(if $(COUNTS),-counts $(COUNTS)) -- -count=1 -timeout 15m $(PACKAGES)

test-vm: install-deps build ## the real-kernel tests on pure cgroup v2, in a VM
	COUNTS=$(COUNTS) hack/vm/run.sh

test-race: build ## pure and real-kernel tests under the race detector (needs gcc)
	CGO_ENABLED=1 SLIPWAY_TEST_BIN=$(abspath $(BIN)) $(GO) test -race -timeout 30m $(PACKAGES)

clean: ## remove $(BIN)
	rm -rf $(BIN)

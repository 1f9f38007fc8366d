# Every target works by itself on a fresh machine that has Go: what else it needs it installs, and says so.
GO      ?= go
# PG chooses a major version of PostgreSQL for the tests, e.g. make test PG=17; empty is the newest one found.
PG      ?=
TOOL     = $(GO) tool -modfile=tools/$(1).mod $(1)
# Git tells Go the commit, where there is a checkout that git trusts.
VCS     := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
PG_BIN   = $(if $(PG),ORISUN_PG_BIN_DIR=$$(.ci/postgres $(PG)))
TESTS   ?= ./...
# RERUN=1 runs each failed test a second time, alone. Its first failure stays in the summary under "Failed": it is a
# defect to mend, but does not hold up everything else. More than three failures, or one data race, are not run again.
RERUN   ?= 0
GOTESTSUM = $(GO) tool -modfile=$(CURDIR)/tools/gotestsum.mod gotestsum \
            --format pkgname-and-test-fails --format-hide-empty-pkg \
	--rerun-fails=$(RERUN) --rerun-fails-max-failures=3 --rerun-fails-abort-on-data-race --rerun-fails-run-root-test
# bcrypt takes 15 times as long with race detection, each start of a server hashes a password, and its cipher starts no
# goroutines. So that one package has no race detection; passwords are hashed at their real cost.
RACE     = -race -gcflags=golang.org/x/crypto/blowfish=-race=false
# Modules of their own: what they need stays out of the server's go.mod, and what the server needs out of theirs.
MODULES  = client client/projection examples

.DEFAULT_GOAL := help
.PHONY: help run build packages test test-modules test-versions bench-compare bench-buffers torture \
        check lint generate diff fmt

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Build and serve, with a PostgreSQL of its own in ./data unless ORISUN_PG_HOST is set
	@test -n "$$ORISUN_PG_HOST" || .ci/postgres $(PG) >/dev/null
	exec bin/orisun

build: ## Build bin/orisun
	$(GO) build -buildvcs=$(VCS) -o bin/orisun ./cmd/orisun

packages: ## Build static binaries for linux, darwin and windows on amd64 and arm64 into dist/
	./build.sh all

test: ## Run all tests with the race detector, on a real PostgreSQL
	@.ci/postgres $(PG) >/dev/null
	@.ci/cc
	@.ci/pgbouncer
	@.ci/chromium
	@.ci/programs
	$(PG_BIN) $(GOTESTSUM) --packages '$(TESTS)' -- $(RACE) -timeout 40m
	@$(MAKE) --no-print-directory test-modules

# -count=1: the results of these tests depend on the server, of which Go's cache of results knows nothing here.
test-modules: ## Run the tests of the modules beside the server's: the client and the examples, on the built server
	@.ci/postgres $(PG) >/dev/null
	@.ci/programs
	@for module in $(MODULES); do \
		echo "in $$module"; \
		($(if $(PG),export $(PG_BIN); )cd $$module && \
			$(GOTESTSUM) --packages ./... -- -race -count=1 -timeout 20m) || exit; \
	done

# The oldest PostgreSQL that the migrations support, and the newest there is. RUN chooses some of the tests.
VERSIONS ?= 13 18
RUN      ?= .

test-versions: ## Test migrations and services on the oldest and the newest PostgreSQL (VERSIONS="14 17", RUN=TestX)
	@for major in $(VERSIONS); do \
		dir=$$(.ci/postgres $$major) || exit; \
		echo "on $$("$$dir/postgres" --version)"; \
		ORISUN_PG_BIN_DIR=$$dir $(GOTESTSUM) --packages './migrations ./service' -- -timeout 20m -run '$(RUN)' || exit; \
	done

# BENCH="--dir /on/the/disk/to/measure" adds flags. It takes minutes.
bench-compare: build ## Compare with pgbench on the same PostgreSQL; writes docs/benchmarks*
	@.ci/postgres $(PG) >/dev/null
	$(PG_BIN) $(GO) run -buildvcs=false ./cmd/benchcompare --docs docs $(BENCH)

# It takes minutes and a GB of disk.
bench-buffers: ## Measure the pages that queries touch in up to 1,000,000 events; writes docs/benchmarks.md
	@.ci/postgres $(PG) >/dev/null
	$(PG_BIN) $(GO) test ./migrations -run '^$$' -bench Buffers -benchtime 1x -timeout 1h \
		-args -buffers.events 10000,100000,1000000 -buffers.doc ../docs/benchmarks.md

# TORTURE="--for 1h --parallel 2" takes longer, TORTURE="--seed N" repeats a run.
torture: ## Disturb three real servers under load, and check all that they answer
	@.ci/postgres $(PG) >/dev/null
	@.ci/cc
	$(PG_BIN) $(GO) run -buildvcs=false ./cmd/torture $(TORTURE)

check: diff lint test ## Everything that a submission must pass

lint: ## Look at Go, SQL and protocol without running them
	$(GO) build -buildvcs=$(VCS) ./...
	GOOS=darwin $(GO) build -buildvcs=false -o /dev/null ./cmd/orisun
	GOOS=windows $(GO) build -buildvcs=false -o /dev/null ./cmd/orisun
	$(GO) vet ./...
	$(call TOOL,golangci-lint) run
	@for module in $(MODULES); do \
		echo "in $$module"; (cd $$module && GOWORK=off $(GO) mod tidy -diff && $(GO) vet ./... && \
			$(GO) tool -modfile=$(CURDIR)/tools/golangci-lint.mod golangci-lint run) || exit; \
	done
	$(call TOOL,sqlc) vet
	$(call TOOL,buf) lint
	$(call TOOL,buf) format --diff --exit-code

generate: ## Generate db/, proto/*.pb.go, proto/comments.binpb, client/internal/wire and pages of docs/
	rm -f db/*.go
	$(call TOOL,sqlc) generate
	$(call TOOL,buf) generate
	$(call TOOL,buf) build --exclude-imports --as-file-descriptor-set -o proto/comments.binpb
	.ci/client-wire client/internal/wire
	$(GO) run -buildvcs=false ./cmd/orisun config --markdown > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
	$(GO) run -buildvcs=false ./cmd/apidoc > docs/api.md.new
	mv docs/api.md.new docs/api.md

diff: ## Fail when generated code is not what its sources generate
	$(call TOOL,sqlc) diff
	.ci/generated

fmt: ## Format Go and protocol
	$(call TOOL,golangci-lint) fmt
	$(call TOOL,buf) format -w

# What there is to do here: `make help`.

export LARDER_FORMAT ?= ../shared/format
LARDER_BENCH ?= ../shared/bench
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

.PHONY: demo
demo: ## the main job on an embedded repository, from building to a restored file
	.ci/setup rust
	cargo build --locked --release
	integration/demo.sh $(TARGET)/release/larder $(TARGET)/demo

.PHONY: test
test: ## all tests that need nothing but this checkout
	.ci/setup rust
	cargo test --locked --workspace --exclude integration

.PHONY: check
check: ## format, lints, documentation, dependencies
	.ci/setup rust deny
	cargo fmt --all --check
	cargo clippy --locked --workspace -- -D warnings
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --quiet --workspace --no-deps --document-private-items
	.ci/deny

.PHONY: integration
integration: ## tests that need the strict checker, all fixtures, servers, mounts, time
	.ci/setup rust python strace
	cargo build --locked --workspace --bins --examples
	PYTHON=$(abspath $(TARGET))/python/bin/python LARDER_FORMAT=$(abspath $(LARDER_FORMAT)) \
		cargo test --locked --package integration

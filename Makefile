# What there is to do here: `make help`.

export LARDER_FORMAT ?= ../shared/format
FUZZ_SECONDS ?= 60
LARDER_BENCH ?= ../shared/bench
SCALE ?= 1
TOOLS ?= larder,restic,rustic,borg,bupstash
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

.PHONY: fuzz
fuzz: ## every parser with made-up input, for FUZZ_SECONDS (60) each
	.ci/setup rust fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/fuzz

.PHONY: integration
integration: ## tests that need the strict checker, all fixtures, servers, mounts, time
	.ci/setup rust python strace clock fuse
	cargo build --locked --workspace --bins --examples
	LARDER_FUSE=1 cargo test --locked --package larder-mount
	PYTHON=$(abspath $(TARGET))/python/bin/python LARDER_FORMAT=$(abspath $(LARDER_FORMAT)) \
		cargo test --locked --package integration

.PHONY: soak
soak: ## the same tests and more, for hours: many more cases, rounds and inputs
	.ci/setup rust python strace clock fuse
	PROPTEST_CASES=20000 cargo test --locked --release --workspace --exclude integration
	cargo build --locked --workspace --bins --examples
	LARDER_ROUNDS=500 PYTHON=$(abspath $(TARGET))/python/bin/python LARDER_FORMAT=$(abspath $(LARDER_FORMAT)) \
		cargo test --locked --package integration
	$(MAKE) fuzz FUZZ_SECONDS=1800

.PHONY: bench
bench: ## speed and memory: parts, and whole commands side by side with those of TOOLS that are on PATH, at SCALE (1)
	.ci/setup rust
	cargo bench --locked --bench parts
	cargo build --locked --release
	mkdir -p $(TARGET)/bench
	PATH="$(abspath $(TARGET))/release:$$PATH" python3 $(LARDER_BENCH)/compare.py --scale $(SCALE) \
		--data $(abspath $(TARGET))/bench/data-$(SCALE) --work $(abspath $(TARGET))/bench/work \
		--tools $(TOOLS)

.PHONY: large
large: ## speed and memory with a million files, five million contents and a file of 8 GiB; needs 30 GiB of disk
	.ci/setup rust
	cargo build --locked --release --bins --examples
	tests/bench/large.py $(TARGET)/release/larder $(TARGET)/release/examples/many-contents $(TARGET)/bench/large

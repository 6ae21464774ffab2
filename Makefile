# The commands of the README. Each installs what is missing, says what it does, and ends with a clear message.
.PHONY: demo test fuzz bench build lint

demo: ## set up two Kafka clusters and a fleet, mirror a corpus, verify every record
	tests/demo.sh

test: ## every test: unit, property, simulation, real Kafka and etcd
	tests/test.sh

# Of each decoder; there are fourteen.
FUZZ_SECONDS ?= 43

fuzz: ## every decoder of what comes from a network or a log, attacked for ten minutes
	TWINLOG_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test -p twinlog-worker --lib fuzz_ -- --nocapture --test-threads 1

bench: ## Twinlog, MirrorMaker 2 and plain librdkafka side by side
	cargo run --release --quiet -p twinlog-tests -- bench

build:
	cargo build --release --workspace

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

#!/usr/bin/env bash
# All tests: unit, simulation, and those on real Kafka clusters. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/packages.sh
# Tests of the sandbox start the binaries, so these must be built; then everything that can be tested.
cargo build --workspace --bins
# An error says what failed; a page of frames around it doesn't help.
export RUST_LIB_BACKTRACE=0
exec cargo test --workspace --no-fail-fast "$@"

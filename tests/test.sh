#!/usr/bin/env bash
# All tests: unit, simulation, and those on real Kafka clusters. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/packages.sh
# Tests of the sandbox start the binaries, so these must be built; then everything that can be tested.
cargo build --workspace --bins
# An error says what failed; a page of frames around it doesn't help.
export RUST_LIB_BACKTRACE=0
status=0
cargo test --workspace --no-fail-fast "$@" || status=$?
# What holds whatever moves the records is seen with the engine that isn't the default, too. It is also the one of `turns`, `by_key`, `legacy`
# and `takeover::another_engine_goes_on_where_the_one_before_was`, wherever it is asked for.
if [ $# -eq 0 ]; then
    both=(corpus::exactly_once gaps:: incarnation::a_copy_deleted)
    TWINLOG_TEST_ENGINE=LIBRDKAFKA cargo test -p twinlog-tests --test scenarios -- "${both[@]}" || status=$?
fi
exit $status

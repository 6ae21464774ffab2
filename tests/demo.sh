#!/usr/bin/env bash
# The demo, from a fresh clone to the verdict: installs what is missing, builds, and runs Twinlog between two real Kafka clusters.
# Arguments go to `twinlog-tests demo`; --help lists them.
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$SECONDS

echo "Twinlog demo. The first run builds everything: about ten minutes on two cores."
tests/packages.sh
echo "Building (cargo build)"
cargo build --workspace --bins
echo "Built after $((SECONDS - begin)) s."
status=0
target/debug/twinlog-tests demo "$@" || status=$?
echo "Total: $((SECONDS - begin)) s."
exit "$status"

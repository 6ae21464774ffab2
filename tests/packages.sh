#!/usr/bin/env bash
# Installs the Debian packages that the build and the sandbox need, where they are missing. Says what to do where it can't.
# With --list it only names them; other arguments are further packages.
set -euo pipefail

need=(etcd-server etcd-client g++ make pkg-config libssl-dev zlib1g-dev protobuf-compiler libprotobuf-dev)
[ "${1:-}" != --list ] || { echo "${need[*]}"; exit 0; }
command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs, then run this again." >&2; exit 1; }
command -v javac >/dev/null || need+=(default-jdk-headless)
command -v mvn >/dev/null || need+=(maven)
need+=("$@")

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${need[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
else
    echo "This is not a Debian: make sure that you have what these packages hold: ${need[*]}" >&2
fi
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run as root: apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
# The package lists of a new machine are empty or old: then fetch them and try once more.
"${install[@]}" >/dev/null 2>&1 || { "${as_root[@]}" apt-get update -q >/dev/null && "${install[@]}" >/dev/null; } || {
    echo "Could not install them. Install by hand and run this again: ${missing[*]}" >&2
    exit 1
}

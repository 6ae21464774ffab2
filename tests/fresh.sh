#!/usr/bin/env bash
# Shows that the README's two commands work on a fresh Debian machine with Rust, Java and Maven and nothing else: makes such a
# root with debootstrap, puts the committed tree there, and runs the demo and the tests inside. Root only; about an hour on two
# cores, most of it the tests. Ends with the time that each took.
#
#   tests/fresh.sh              both commands
#   tests/fresh.sh demo         only the demo (or: test); anything else is run as a command in the fresh clone
#   FRESH_DIR=DIR               where the root is made (default: a new folder below /var/tmp), FRESH_KEEP=1 leaves it there
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "fresh.sh: $*" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || fail "it makes a root folder and changes into it: run as root"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
command -v rustc >/dev/null || fail "Rust is missing: see https://rustup.rs"
[ $# -gt 0 ] || set -- demo test

# Everything that is mounted is gone with this process, whatever ends it.
if [ -z "${FRESH_INSIDE:-}" ]; then
    export FRESH_INSIDE=1
    exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi

root=${FRESH_DIR:-$(mktemp -d /var/tmp/twinlog-fresh.XXXXXX)}
mkdir -p "$root"
# One file system only: what is mounted inside is not ours to delete.
[ -n "${FRESH_KEEP:-}" ] || trap 'umount -R "$root/proc" "$root/dev" "$root/opt/rust" 2>/dev/null; rm -rf --one-file-system "$root"' EXIT

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?not a Debian}")
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | grep -v '#' | head -n 1 || true)

timed() {
    local name=$1 begin=$SECONDS
    shift
    echo "==> $name"
    "$@" || { echo "==> $name: FAILED after $((SECONDS - begin)) s"; return 1; }
    echo "==> $name: $((SECONDS - begin)) s"
}

inside() { chroot "$root" env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

make_root() {
    [ -x "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase "$codename" "$root" "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || {
        tail -n 20 "$root.log" >&2
        return 1
    }
    rm -f "$root.log"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # An installer writes it, debootstrap doesn't.
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    mkdir -p "$root/opt/rust"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # The machine's own toolchain, read-only: what rustup would install.
    mount --bind "$(rustc --print sysroot)" "$root/opt/rust"
    mount -o remount,bind,ro "$root/opt/rust"
}

java_and_maven() {
    inside apt-get update -q >/dev/null
    inside env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        ca-certificates default-jdk-headless maven >/dev/null
    # Whom this machine trusts beyond a new one's authorities, a proxy of its network say, the root must trust, too.
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
        cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
        inside update-ca-certificates >/dev/null
    fi
    # A machine's package lists are older than its packages: packages.sh has to fetch its own.
    rm -rf "$root"/var/lib/apt/lists/*
}

clone() {
    rm -rf "$root/root/a-clone"
    mkdir -p "$root/root/a-clone"
    git archive HEAD | tar -x -C "$root/root/a-clone"
}

timed "A Debian root ($codename, minbase)" make_root
timed "Java and Maven" java_and_maven
timed "The tree at $(git rev-parse --short HEAD)" clone
echo "==> packages there before ours: $(inside dpkg-query -f '.\n' -W | wc -l)"

report=() failed=0
for command in "$@"; do
    case $command in
        demo | test) line="tests/$command.sh" ;;
        *) line=$command ;;
    esac
    begin=$SECONDS status=0
    echo "==> $line"
    inside bash -c "cd /root/a-clone && $line" </dev/null || status=$?
    [ "$status" -eq 0 ] || failed=1
    report+=("$line: exit $status after $((SECONDS - begin)) s")
done
echo "==> fresh root:"
printf '    %s\n' "${report[@]}"
exit "$failed"

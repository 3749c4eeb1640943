# SPDX-License-Identifier: Apache-2.0
# Checks to make before something is installed, downloaded or built. To be sourced (sh or bash).
# Each prints one sentence with the problem and one with what to do, and returns 1. PREFLIGHT_ROOT and
# PREFLIGHT_CPUINFO let tests point the checks at other files.

preflight_problem() {
    printf '%s: %s\n%s\n' "${0##*/}" "$1" "    $2" >&2
    return 1
}

# The packages' names and versions are those of one release.
preflight_debian12() {
    release=${PREFLIGHT_ROOT:-}/etc/os-release
    if [ -r "$release" ] && (. "$release" && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]); then
        return 0
    fi
    found=$([ -r "$release" ] && . "$release" && echo "${PRETTY_NAME:-unnamed}") || found="an unnamed system"
    preflight_problem "this needs Debian 12 (bookworm), and this machine runs $found." \
        "Run it in a Debian 12 machine or container, e.g. docker run -it debian:12."
}

# preflight_root WHAT...: installing packages needs root, directly or through sudo. Sets $as_root to the prefix.
preflight_root() {
    as_root=
    [ "$(id -u)" -eq 0 ] && return 0
    if command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
        return 0
    fi
    preflight_problem "installing packages ($*) needs root, and sudo cannot be used here." \
        "Run this as root once, or have an administrator run: apt-get install $*"
}

# For a download that failed.
preflight_no_network() {
    preflight_problem "the Debian package servers cannot be reached, and something is not in the cache yet." \
        "Check the network and the proxy settings (http_proxy, /etc/apt); only the first run needs them."
}

# preflight_disk FOLDER MIB: FOLDER (or the nearest parent that exists) has that much room.
preflight_disk() {
    folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] && return 0
    preflight_problem "$folder has $free MiB free, and $2 MiB are needed." \
        "Make room there, or choose another disk for it (cache: XDG_CACHE_HOME, temporary files: TMPDIR)."
}

# Generated code uses AVX2, BMI2, FMA and what else x86-64-v3 holds.
preflight_x86_64_v3() {
    if [ "$(uname -m)" != x86_64 ]; then
        preflight_problem "this machine is $(uname -m); the translator generates code for x86_64 hosts." \
            "Use an x86_64 machine."
        return
    fi
    flags=" $(sed -n 's/^flags[[:space:]]*: //p' "${PREFLIGHT_CPUINFO:-/proc/cpuinfo}" | head -n 1) "
    missing=
    for flag in avx avx2 bmi1 bmi2 f16c fma abm movbe xsave sse4_2 ssse3 popcnt cx16 lahf_lm; do
        case $flags in
        *" $flag "*) ;;
        *) missing="$missing $flag" ;;
        esac
    done
    [ -z "$missing" ] && return 0
    preflight_problem "this processor is not x86-64-v3: it lacks$missing." \
        "Use an Intel Haswell (2013), AMD Zen (2017) or later; in a virtual machine, pass the host's CPU on."
}

# SPDX-License-Identifier: Apache-2.0
# To be sourced (sh or bash): tells tests that cannot run on this machine from tests that should have run.

# report_skips LOG: lists what the ctest log says was skipped, and why. 1 if something was that could have run. A reason
# that is the machine's begins with "cannot run here:".
report_skips() {
    found=$(awk '
        /^\[ RUN      \] / { name = $0; sub(/^\[ RUN      \] /, "", name) }
        is_reason { is_reason = 0; print name ": " $0; next }
        /: Skipped$/ { is_reason = 1 }  # GoogleTest; the reason is on the next line
        /^SKIPPED: / { sub(/^SKIPPED: /, ""); sub(/Skipped: /, ""); print }
        ' "$1" | LC_ALL=C sort -u)
    cannot=$(printf '%s\n' "$found" | grep -a 'cannot run here:') || true
    could=$(printf '%s\n' "$found" | grep -av 'cannot run here:' | grep -a .) || true
    [ -z "$cannot" ] || printf 'quickstart: skipped, because they cannot run on this machine:\n%s\n' "$cannot" >&2
    [ -z "$could" ] && return
    printf 'quickstart: skipped, though they could run here:\n%s\n' "$could" >&2
    return 1
}

# shellcheck shell=bash
# What the checks share: each of their lines is "ok WHAT" or "not ok WHAT", with the reasons under it.
set -uo pipefail
shopt -s nullglob globstar
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

code=0
scratch= # a directory to remove in the end, if a check made one
trap '[ -z "$scratch" ] || rm -rf "$scratch"; exit $code' EXIT

# verdict WHAT REASONS: ok when there are no reasons
verdict() {
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        code=1
        echo "not ok $1"
        awk '{ print "    " $0 }' <<<"$2"
    fi
}

# have TOOL PACKAGE WHAT: whether the tool is there. WHAT is skipped when no package could bring it,
# and fails when one could.
have() {
    command -v "$1" >/dev/null && return 0
    if [[ $(apt-cache policy "$2" 2>/dev/null) =~ Candidate:\ [^\(] ]]; then
        verdict "$3" "$1 is not on this machine: run 'make setup'"
    else
        echo "ok $3 # SKIP $1 is not on this machine, and apt knows no package $2"
    fi
    return 1
}

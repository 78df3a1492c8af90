# Sourced by bin/test and .ci/run.

# Runs a command, and prints the seconds that it took. Usage: timed NAME COMMAND [ARGUMENT…]
# A command that fails ends a script with `set -e`, as it does without this function.
timed() {
    local name=$1 start=$SECONDS
    shift
    "$@"
    echo "time: $name: $((SECONDS - start)) s" >&2
}

#!/usr/bin/env bash
# Audits what the inputs name. The report is written, and the outputs are set, also where the audit fails; the step ends as it does.
set -euo pipefail
tool="${TAILCALL_AUDIT:-${RUNNER_TEMP:?}/tailcall-audit/bin/tailcall-audit}"
words() { # prints the lines that are not empty, each ended by a NUL
    while IFS= read -r line; do
        line=${line%$'\r'}
        if [ -n "$line" ]; then printf '%s\0' "$line"; fi
    done <<<"$1"
}
mapfile -d '' -t targets < <(words "$INPUT_TARGETS")
mapfile -d '' -t arguments < <(words "${INPUT_ARGUMENTS-}")
if [ "${#targets[@]}" -eq 0 ]; then
    echo "tailcall-audit: the input targets is empty" >&2
    exit 2
fi
code=0
# What stands behind -- is a target, whatever it begins with.
"$tool" --format "$INPUT_FORMAT" --output "$INPUT_OUTPUT" "${arguments[@]}" -- "${targets[@]}" || code=$?
{
    echo "report=$INPUT_OUTPUT"
    echo "exit-code=$code"
} >>"${GITHUB_OUTPUT:?}"
exit "$code"

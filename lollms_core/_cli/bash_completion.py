"""Completion in bash, which takes a word apart at every colon and equals sign: `qwen3:4b` is three words to it.

click's own script hands on bash's words, and so nothing that has a colon in it could be completed.
"""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

__all__ = ["register"]

_SOURCE = r"""
%(complete_func)s() {
    local IFS=$'\n' response completion type value
    local line="${COMP_LINE:0:COMP_POINT}"
    # What bash takes for other words stays on the line; the rest of the word is what it wants.
    local word="${line##*[[:space:]]}" before=""
    if [[ $word == -*=* ]]; then word="${word#*=}"; fi
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
        before="${word%%"${word##*:}"}"
    fi
    response=$(env COMP_LINE="$line" %(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == file ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$before"}")
            if [[ $value == *. ]]; then compopt -o nospace; fi
        fi
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        if not words or line[-1].isspace():
            return words[1:], ""
        return words[1:-1], words[-1]


def register() -> None:
    """Let click use this in place of its own."""
    add_completion_class(_Bash, "bash")

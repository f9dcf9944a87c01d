"""The numbers that callers may choose: one table, from which limits, defaults, settings and options come.

Signatures and `SamplingParams` name them once more, for editors and type checkers; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PARAMETERS", "Parameter"]

_INFINITE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number."""

    name: str
    kind: type[int] | type[float]
    help: str
    """What it does, in one sentence."""
    default: int | float | None = None
    """The client's, which the guide gives; `None` leaves it to the model or the server."""
    low: float = -_INFINITE
    high: float = _INFINITE
    above: bool = False
    """It must be above `low`, not only at least that."""
    neutral: float | None = None
    """The value at which it does nothing, if there is one."""
    letter: str = ""
    """The short form of its option at the terminal."""

    def problem(self, value: float) -> str:
        """What is wrong with the size of a number; empty if nothing is."""
        if (self.low < value if self.above else self.low <= value) and value <= self.high:
            return ""
        if self.high < _INFINITE:
            span = f"between {self.low:g} and {self.high:g}"
        else:
            span = f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"{self.name} must be {span}, not {value:g}"


_ALL = (
    Parameter(name="n_predict", kind=int, default=4096, low=1, letter="n", help="The most tokens to generate."),
    Parameter(name="temperature", kind=float, default=0.1, low=0, letter="t", help="0 is greedy."),
    Parameter(
        name="top_k", kind=int, default=50, low=0, neutral=0, help="Sample from the K most likely tokens; 0 is off."
    ),
    Parameter(
        name="top_p", kind=float, default=0.95, low=0, high=1, neutral=1,
        help="Sample from the most likely tokens that together reach this probability.",
    ),
    Parameter(
        name="min_p", kind=float, low=0, high=1, neutral=0,
        help="Leave out tokens whose probability is below this share of the likeliest one's.",
    ),
    Parameter(
        name="repeat_penalty", kind=float, default=0.8, low=0, above=True, neutral=1,
        help="Above 1 discourages repetition.",
    ),
    Parameter(
        name="repeat_last_n", kind=int, default=40, low=-1,
        help="How many of the latest tokens the penalty looks at; -1 is all.",
    ),
    Parameter(name="seed", kind=int, help="The same seed, the same answer, where the backend can."),
    Parameter(name="n_threads", kind=int, default=8, low=1, help="Threads for the model."),
    Parameter(name="ctx_size", kind=int, default=32000, low=1, help="The context window to ask for, in tokens."),
)  # fmt: skip

PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for parameter in _ALL}
"""Every parameter by name. All but `ctx_size`, which is the client's, may be chosen for each call."""

"""What the statistics of a program's layers say: findings, each with its place and advice from the literature."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from chainlab.autodiff.diagnosis.advice import ADVICE, WIDTH, Advice
from chainlab.autodiff.diagnosis.phase import Phase
from chainlab.autodiff.diagnosis.program import LayerName, Statistics

Problem = Literal["non-finite", "exploding", "vanishing", "collapsed", "saturated", "dead"]

DECADES = 4.0  # a gradient that shrinks or grows by 10^4 on its way trains badly under any one rate
ALIKE = 1e-3  # 1 - cosine below which a layer no longer tells its inputs apart
SATURATED = 0.5  # share of an activation's entries at its asymptotes
_TINY = 1e-30
DEAD = 0.9  # share of features that are 0 for every input


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where it begins.

    Attributes:
        problem: `non-finite`, `exploding`, `vanishing`, `collapsed`, `saturated` or `dead`.
        side: `value` for the forward pass, `adjoint` for the backward one.
        layer: The first layer of which it is true: from the input on for values, from the output back for adjoints.
        source: The line of the program that makes this layer.
        got: The measured quantity at this layer.
        wanted: The bound that it passed.
        message: The finding in one sentence.
        advice: What the literature does about it.
    """

    problem: Problem
    side: Literal["value", "adjoint"]
    layer: str
    source: str
    got: float
    wanted: float
    message: str
    advice: Sequence[Advice]


@dataclass(frozen=True)
class Chain:
    """The layers that lie one behind the other, as NumPy arrays; the others hang on them.

    Attributes:
        names: Their names.
        statistics: Their statistics.
        dtype: The type in which the program computes, for messages.
    """

    names: Sequence[LayerName]
    statistics: Statistics
    dtype: str


def findings(chain: Chain, everything: Chain, phase: Phase | None) -> list[Finding]:
    """All findings, the gravest first.

    Args:
        chain: The layers that every gradient passes.
        everything: All layers.
        phase: The phase of the chain, where it is deep enough for one.

    Returns:
        The findings.
    """
    moved, collapsed = [*_adjoint(chain), *_values(chain)], [*_collapsed(everything)]
    if phase == "critical":  # a drift of finite width, which a rate absorbs, where a collapse can't be undone
        moved = [replace(finding, advice=(WIDTH, *(a for a in finding.advice if a != WIDTH))) for finding in moved]
    found = [
        *_nonfinite(everything),
        *(collapsed + moved if phase == "critical" else moved + collapsed),
        *_share(everything, "saturated", everything.statistics.saturated, SATURATED),
        *_share(everything, "dead", everything.statistics.dead, DEAD),
    ]
    return _causes(found, everything)


def _causes(found: list[Finding], everything: Chain) -> list[Finding]:
    """Drop what another finding explains, and put causes before their consequences."""
    place = {name.name: index for index, name in enumerate(everything.names)}
    by_kind = {(finding.problem, finding.side): finding for finding in found}
    dead, small = by_kind.get(("dead", "value")), by_kind.get(("vanishing", "value"))
    if dead is not None and small is not None:
        if place[dead.layer] < place[small.layer]:  # the units died first
            return [dead, *(finding for finding in found if finding not in (dead, small))]
        found = [finding for finding in found if finding is not dead]  # a value that underflows looks dead
    for side in ("value", "adjoint"):  # what overflows has grown first
        if ("exploding", side) in by_kind:
            found = [f for f in found if (f.problem, f.side) != ("non-finite", side)]
    return found


def _finding(
    chain: Chain, index: int, problem: Problem, side: Literal["value", "adjoint"], got: float, wanted: float, text: str
) -> Finding:
    layer = chain.names[index]
    return Finding(problem, side, layer.name, layer.source, float(got), wanted, text, ADVICE[problem])


def _place(chain: Chain, index: int) -> str:
    """A layer and its number."""
    return f"{chain.names[index].name} (layer {index + 1} of {len(chain.names)})"


def _nonfinite(chain: Chain) -> Iterator[Finding]:
    values = np.isfinite(chain.statistics.largest)
    if not values.all():
        first = int(np.argmin(values))
        got = chain.statistics.largest[first]
        text = f"the value is not finite from {_place(chain, first)} on ({got}); everything before it is finite"
        yield _finding(chain, first, "non-finite", "value", got, np.inf, text)
        return  # its adjoints are not finite as a consequence
    watched = np.flatnonzero(chain.statistics.executed * ~np.isnan(chain.statistics.adjoint_zeros))
    bad = watched[~np.isfinite(np.asarray(chain.statistics.adjoint_largest)[watched])]
    if bad.size:
        last = int(bad[-1])
        got = chain.statistics.adjoint_largest[last]
        text = f"the values are finite, but the adjoint is not from {_place(chain, last)} back ({got})"
        yield _finding(chain, last, "non-finite", "adjoint", got, np.inf, text)


def _adjoint(chain: Chain) -> Iterator[Finding]:
    """Follow the adjoint from the output back."""
    size = np.asarray(chain.statistics.adjoint_rms)
    reference = _reference(size[::-1])
    if reference is None:
        if size.size and (size == 0).all():
            last = len(size) - 1
            text = (
                f"the adjoint is exactly 0 in every layer, already in {_place(chain, last)} before the output: the "
                "output does not move with any layer (a constant or saturated loss, a head of zeros, or stop_gradient)"
            )
            yield _finding(chain, last, "vanishing", "adjoint", 0.0, 0.0, text)
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(size / reference)
    lost = _suffix(np.flatnonzero(~(decades < -DECADES)), len(size))
    if lost >= 0:
        zero = _suffix(np.flatnonzero(size != 0), len(size))
        where = _place(chain, lost)
        text = f"the adjoint has shrunk by 10^{-DECADES:g} at {where}, seen from the output"
        if zero >= 0:
            text += (
                f"; from {_place(chain, zero)} back it is exactly 0: it underflows in {chain.dtype}, it is not missing"
            )
        elif np.isfinite(decades[0]):
            text += f", and by 10^{decades[0]:.1f} at {_place(chain, 0)}"
        yield _finding(chain, lost, "vanishing", "adjoint", size[lost], reference * 10**-DECADES, text)
    grown = np.flatnonzero(~(decades < DECADES))
    if grown.size and np.isfinite(size[grown[-1]]):  # a jump to infinity is not growth
        first = int(grown[-1])
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(size)
        end = (
            f"and by 10^{np.max(decades):.1f} at most"
            if finite.all()
            else f"and overflows in {chain.dtype} at {_place(chain, int(np.flatnonzero(~finite)[-1]))}"
        )
        text = f"the adjoint has grown by 10^{DECADES:g} at {_place(chain, first)}, seen from the output, {end}"
        yield _finding(chain, first, "exploding", "adjoint", size[first], reference * 10**DECADES, text)


def _values(chain: Chain) -> Iterator[Finding]:
    """Follow the value from the input on."""
    size = np.asarray(chain.statistics.rms)
    reference = _reference(size)
    if reference is None:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(size / reference)
    small = np.flatnonzero(decades < -DECADES)
    # the values may recover behind a layer (a normalisation): only a loss that lasts to the end counts
    if small.size and decades[-1] < -DECADES:
        first = int(np.flatnonzero(~(decades < -DECADES))[-1]) + 1
        text = f"the value has shrunk by 10^{-DECADES:g} at {_place(chain, first)}"
        zero = np.flatnonzero(size == 0)
        if zero.size:
            text += f" and underflows to exactly 0 in {chain.dtype} at {_place(chain, int(zero[0]))}"
        yield _finding(chain, first, "vanishing", "value", size[first], reference * 10**-DECADES, text)
    large = np.flatnonzero(decades > DECADES)
    if large.size and np.isfinite(size[large[0]]):
        first = int(large[0])
        text = f"the value has grown by 10^{DECADES:g} at {_place(chain, first)}"
        over = np.flatnonzero(~np.isfinite(size))
        if over.size:
            text += f" and overflows in {chain.dtype} at {_place(chain, int(over[0]))}"
        yield _finding(chain, first, "exploding", "value", size[first], reference * 10**DECADES, text)


def _collapsed(chain: Chain) -> Iterator[Finding]:
    alike = np.asarray(chain.statistics.similarity)
    sized = np.nan_to_num(np.asarray(chain.statistics.rms)) > _TINY  # of rows that underflow the direction is noise
    known = np.flatnonzero(np.isfinite(alike) & sized)
    if known.size and alike[known[0]] < 1 - ALIKE and alike[known[-1]] > 1 - ALIKE:
        apart = known[alike[known] < 1 - ALIKE]
        first = int(known[np.searchsorted(known, apart[-1]) + 1])
        text = (
            f"all inputs point the same way from {_place(chain, first)} on (mean cosine {alike[first]:.5f}): the "
            "output no longer depends on what goes in, so that the loss stays at that of a constant prediction"
        )
        yield _finding(chain, first, "collapsed", "value", alike[first], 1 - ALIKE, text)


def _share(
    chain: Chain, problem: Literal["saturated", "dead"], shares: Float[ndarray, " layers"], bound: float
) -> Iterator[Finding]:
    kinds = np.asarray([name.kind == "activation" for name in chain.names])
    over = np.flatnonzero(kinds & (np.nan_to_num(np.asarray(shares)) > bound))
    if over.size:
        first = int(over[0])
        what = {
            "saturated": "of the entries lie within 2 % of an asymptote",
            "dead": "of the features are 0 for every input of the batch",
        }[problem]
        text = f"{shares[first]:.0%} {what} at {_place(chain, first)} ({over.size} layers in all)"
        yield _finding(chain, first, problem, "value", shares[first], bound, text)


def _reference(size: Float[ndarray, " layers"]) -> float | None:
    """The scale at the side where a signal starts: the largest of its first few layers that is finite and not 0."""
    usable = size[: max(1, len(size) // 20) + 2]
    usable = usable[np.isfinite(usable) & (usable > 0)]
    return float(np.max(usable)) if usable.size else None


def _suffix(others: ndarray, length: int) -> int:
    """The last index of the leading run that none of `others` lies in, or -1: the run reaches the input."""
    return int(others[0]) - 1 if others.size else length - 1

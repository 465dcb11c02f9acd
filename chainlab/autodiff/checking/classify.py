"""What kind of mistake a wrong gradient looks like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chainlab.autodiff.checking.arguments import Leaf

Guess = tuple[str, str]
_CLOSE = 2e-3


@dataclass(frozen=True)
class Evidence:
    """What is known of a leaf whose gradient is wrong.

    Attributes:
        leaf: The leaf.
        got: Its whole declared gradient, flat real coordinates.
        point: Its values.
        wrong: Wrong coordinates, within the leaf.
        want: The measured gradient at `wrong`.
        flat: Whether the function is locally constant along each wrong coordinate.
        jumps: Whether it moves further along any of them.
        kink: Whether each wrong coordinate sits at a kink.
        right: Coordinates that were differenced and are right, and not zero.
        known: Every differenced coordinate and its measured gradient.
        expanded: Sizes of axes that the leaf is broadcast over in the function.
        others: Measured gradients of other leaves of the same shape, by path.
    """

    leaf: Leaf
    got: np.ndarray
    point: np.ndarray
    wrong: np.ndarray
    want: np.ndarray
    flat: np.ndarray
    jumps: bool
    kink: np.ndarray
    right: int
    known: dict[int, float]
    expanded: Sequence[int] = ()
    others: tuple[tuple[str, dict[int, float]], ...] = ()


def _close(a: np.ndarray, b: np.ndarray, tolerance: float = _CLOSE) -> bool:
    """Equal relative to the larger of each pair and, slightly, to the largest of all."""
    scale = np.maximum(np.abs(a), np.abs(b))
    return bool(np.all(np.abs(a - b) <= tolerance * scale + 1e-6 * np.max(scale, initial=0.0)))


def _constant(values: np.ndarray) -> float | None:
    """The common value, where there is one."""
    middle = float(np.median(values))
    return middle if np.isfinite(middle) and _close(values, np.full_like(values, middle)) else None


def _surrogate(e: Evidence) -> Guess | None:
    if np.all(e.flat) and np.all(e.want == 0):
        if not e.jumps:
            return "wrong value", "the function does not depend on this leaf here, but a gradient is declared"
        return "surrogate", (
            "the function is a staircase here, so that its derivative is zero, and a custom rule declares another: "
            "pass reference= (the smooth function whose derivative is meant)"
        )
    return None


def _kink(e: Evidence) -> Guess | None:
    if np.all(e.kink):
        return "kink", "the point is a kink and the gradient lies outside the slopes on its two sides"
    return None


def _stopped(e: Evidence) -> Guess | None:
    if np.all(np.abs(e.got[e.wrong]) <= 1e-9 * np.abs(e.want)):
        return "stopped gradient", (
            "the gradient is zero where the function moves: look for stop_gradient, a cast to integer, a value "
            "computed outside JAX, or a rule that returns zeros"
        )
    return None


def _sign(e: Evidence) -> Guess | None:
    if _close(e.got[e.wrong], -e.want):
        if e.leaf.complex and np.all(e.wrong >= e.leaf.entries):
            return "wrong sign", "the imaginary part has the wrong sign: a conjugate is missing or too many"
        return "wrong sign", "the gradient is the negative of the derivative"
    return None


def _factor(e: Evidence) -> Guess | None:
    if np.any(e.want == 0):
        return None
    ratio = _constant(e.got[e.wrong] / e.want)
    if ratio is None or (len(e.wrong) < 2 and e.right + len(e.wrong) > 1):
        return None
    for size in e.expanded:
        if size > 1 and abs(ratio * size - 1) < _CLOSE:
            return "missing broadcast sum", (
                f"the gradient is 1/{size} of the derivative and the leaf is broadcast over an axis of {size}: "
                "sum the cotangent over that axis, don't average it"
            )
    inverse = 1 / ratio if ratio else np.inf
    name = f"{inverse:.4g}" if abs(inverse) >= 1 else f"1/{ratio:.4g}"
    return "missing factor", f"got / want is {ratio:.6g} throughout: a factor {name} is missing"


def _permuted(e: Evidence, permute: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether the declared gradient is the measured one with its entries moved."""
    if e.leaf.complex or len(e.wrong) < 2:
        return False
    places = np.arange(e.leaf.entries).reshape(e.leaf.shape)
    try:
        source = np.ravel(permute(places))
    except ValueError:
        return False
    # got[i] should be want[source[i]]: compare where that one was measured.
    pairs = [(i, int(source[i])) for i in e.wrong if source[i] >= 0 and int(source[i]) in e.known]
    if len(pairs) < max(2, len(e.wrong) // 2):
        return False
    moved = np.array([e.known[j] for _, j in pairs])
    return bool(np.ptp(moved) > 0) and _close(e.got[[i for i, _ in pairs]], moved)


def _transposed(e: Evidence) -> Guess | None:
    shape = e.leaf.shape
    if len(shape) >= 2 and shape[-1] == shape[-2] and _permuted(e, lambda a: np.swapaxes(a, -1, -2)):
        return "transposed", "the gradient is the transpose of the derivative: two factors of a product are swapped"
    if len(shape) >= 2 and _permuted(e, lambda a: np.swapaxes(a, -1, -2).reshape(shape)):
        return "transposed", "the gradient holds the transposed derivative under this shape: a reshape replaces a .T"
    for axis in range(len(shape)):
        if _permuted(e, lambda a, axis=axis: np.flip(a, axis)):
            return "transposed", f"the gradient is the derivative with axis {axis} reversed"
    return None


def _shifted(e: Evidence) -> Guess | None:
    for axis, size in enumerate(e.leaf.shape):
        for shift in (1, -1, 2, -2):
            if size < 3 or abs(shift) >= size - 1:
                continue

            def slid(places: np.ndarray, axis: int = axis, shift: int = shift) -> np.ndarray:
                moved = np.moveaxis(np.roll(places, shift, axis), axis, 0).copy()
                edge = slice(None, shift) if shift > 0 else slice(shift, None)
                moved[edge] = -1
                return np.moveaxis(moved, 0, axis)

            if _permuted(e, slid):
                return "shifted index", (
                    f"the gradient is that of index {-shift:+d} along axis {axis}: an off-by-one in a scan, a slice "
                    "or a residual saved after its update"
                )
    return None


def _edge(e: Evidence) -> Guess | None:
    if e.right < 2 or e.leaf.complex or len(e.wrong) < 2:  # one wrong coordinate at an end may be anything
        return None
    indices = np.stack(np.unravel_index(e.wrong, e.leaf.shape), 1)
    for axis, size in enumerate(e.leaf.shape):
        ends = set(indices[:, axis].tolist())
        if size >= 3 and len(ends) == 1 and ends <= {0, size - 1} and len(e.wrong) * size >= e.leaf.entries:
            which = "first" if ends == {0} else "last"
            return "shifted index", (
                f"only the {which} index of axis {axis} is wrong: an off-by-one at the {which} step of a scan, or a "
                "boundary that is handled apart"
            )
    return None


def _swapped(e: Evidence) -> Guess | None:
    for path, known in e.others:
        shared = [i for i in e.wrong if int(i) in known]
        if len(shared) == len(e.wrong) and (len(shared) > 1 or e.leaf.entries == 1):
            other = np.array([known[int(i)] for i in shared])
            if np.any(other != 0) and _close(e.got[shared], other):
                return (
                    "swapped arguments",
                    f"the gradient is that of {path}: a rule returns its cotangents in another order",
                )
    return None


def _term(e: Evidence) -> Guess | None:
    if len(e.wrong) < 3:
        return None
    missing = e.want - e.got[e.wrong]
    constant = _constant(missing)
    if constant is not None and np.ptp(e.want) > 1e-3 * np.max(np.abs(e.want)):
        return "missing term", f"every coordinate lacks the same {constant:.4g}: a term of the sum rule is missing"
    here = e.point[e.wrong]
    with np.errstate(all="ignore"):
        for values, words in ((missing / here, "lacks {:.4g} times the leaf's own value"),):
            constant = _constant(values) if np.all(here != 0) else None
            if constant is not None and np.ptp(here) > 0:
                return "missing term", f"every coordinate {words.format(constant)}: a term of the sum rule is missing"
        ratio = e.got[e.wrong] / e.want
        for power, words in ((here, "the leaf's own value"), (1 / here, "one over the leaf's own value")):
            constant = _constant(ratio / power) if np.all(here != 0) and np.all(e.want != 0) else None
            if constant is not None and np.ptp(here) > 0:
                return "missing factor", f"got / want is {constant:.4g} times {words}: an inner derivative is wrong"
    return None


def _broadcast(e: Evidence) -> Guess | None:
    sizes = [s for s in e.expanded if s > 1]
    if sizes and e.right == 0:
        return "missing broadcast sum", (
            f"the leaf is broadcast over an axis of {sizes[0]}: its gradient is the sum of the cotangent over that "
            "axis; the sum is missing or runs over another axis"
        )
    return None


def _some(e: Evidence) -> Guess:
    if e.right:
        ratio = _constant(e.got[e.wrong] / e.want) if np.all(e.want != 0) else None
        where = "there" if ratio is None else f"there, where got / want is {ratio:.6g}"
        return "wrong value", (
            f"{len(e.wrong)} of {len(e.wrong) + e.right} coordinates that were differenced are wrong and the others "
            f"are right: the rule is right in form; look for an index, a mask or a branch {where}"
        )
    return "wrong value", "no coordinate is right: a term or an inner derivative is missing, or a residual is stale"


_GUESSES: tuple[Callable[[Evidence], Guess | None], ...] = (
    _surrogate,
    _kink,
    _stopped,
    _sign,
    _factor,
    _transposed,
    _shifted,
    _swapped,
    _edge,
    _term,
    _broadcast,
)


def classify(evidence: Evidence) -> Guess:
    """Name the mistake: the first class that every wrong coordinate of the leaf fits.

    Args:
        evidence: What is known of the leaf.

    Returns:
        The kind and a hint.
    """
    for guess in _GUESSES:
        found = guess(evidence)
        if found is not None:
            return found
    return _some(evidence)

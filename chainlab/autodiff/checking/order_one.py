"""The first derivative, at the point and at points around it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from chainlab.autodiff.checking.arguments import Arguments, Leaf
from chainlab.autodiff.checking.broadcast import expanded_axes
from chainlab.autodiff.checking.classify import Evidence, classify
from chainlab.autodiff.checking.dead import jumps
from chainlab.autodiff.checking.derivative import Derivative
from chainlab.autodiff.checking.nonfinite import origin
from chainlab.autodiff.checking.precision import tolerance as rounding_tolerance
from chainlab.autodiff.checking.programs import Lines
from chainlab.autodiff.checking.promote import literal_spacing, residual_spacing, spacing
from chainlab.autodiff.checking.report import Finding
from chainlab.autodiff.checking.search import LEVELS, Found, Search

_EPS = float(np.finfo(np.float64).eps)
_FACTORS = (1.0, -1.0, 3.0, -3.0)
_DEAD = 64  # zero coordinates of a leaf that are tried for jumps one by one


def number(arguments: Arguments, leaf: Leaf, entry: int, vector: Any) -> complex | float:
    """The derivative of an entry in JAX's convention, from a mapping of real coordinates."""
    if not leaf.complex:
        return float(vector[leaf.start + entry])
    return complex(vector[leaf.start + entry], -vector[leaf.start + leaf.entries + entry])


class FirstOrder:
    """The check of a gradient against differences of the function.

    Attributes:
        findings: The mistakes.
        unresolved: Places that could not be judged.
        notes: What was left out and why.
        differenced: Coordinates differenced at the point itself.
    """

    def __init__(
        self, arguments: Arguments, function: ClosedJaxpr, measured: ClosedJaxpr, derivative: Derivative, rtol: float
    ) -> None:
        self.arguments, self.function, self.derivative = arguments, function, derivative
        narrowest = max(literal_spacing(measured), literal_spacing(derivative.program))
        self.rtol = max(rtol, 2 * narrowest)
        self.lines = Lines(measured, arguments, 2 * LEVELS, lambda outputs: outputs[0])
        self.spacing = max(_EPS, residual_spacing(measured))
        self.working_spacing = spacing(derivative.program)
        self.findings: list[Finding] = []
        self.unresolved: list[str] = []
        self.notes: list[str] = []
        self.differenced = 0
        self.axes = expanded_axes(function)

    def _search(self, point: np.ndarray, got: np.ndarray, blur: np.ndarray | None) -> Search:
        floor = np.zeros_like(got)
        for leaf in self.arguments.leaves:
            part = np.abs(got[leaf.start : leaf.stop])
            largest = np.max(part, where=np.isfinite(part), initial=0.0)
            floor[leaf.start : leaf.stop] = 64 * _EPS * largest
            if blur is not None:
                own = blur[leaf.start : leaf.stop]
                own = np.where(np.isfinite(own), own, 0.0)
                # Constants of the program are rounded to the working dtype: an error of that size is no mistake.
                floor[leaf.start : leaf.stop] += np.minimum(2 * own, self.rtol * largest)
                # What cancels at the working dtype cancels in float64 too, at its own epsilon.
                floor[leaf.start : leaf.stop] += 16 * own * _EPS / self.working_spacing
        return Search(
            self.lines,
            self.arguments,
            point,
            got,
            floor,
            spacing=self.spacing,
            rtol=self.rtol,
        )

    def at_point(self, value: float, got: np.ndarray, working: np.ndarray) -> None:
        """Check at the arguments themselves.

        Args:
            value: The function in float64.
            got: The gradient in float64.
            working: The gradient at the working dtype.
        """
        if not np.isfinite(value):
            return
        blur = np.abs(working - got)
        search = self._search(self.arguments.vector, got, blur)
        if not np.isfinite(search.centre):
            self.notes.append("the function that is differenced is not finite here, so that nothing was compared")
            return
        found = search.run()
        self.differenced = len(found.coordinates)
        wrong = self._report(search, found, "")
        self._dead(search, found)
        self._precision(value, got, working, wrong)
        sharp = found.verdict.sharp
        for i in found.coordinates[~sharp & found.verdict.accepted]:
            leaf = self.arguments.leaf_of(int(i))
            self.unresolved.append(f"{leaf.path}{list(leaf.index(int(i))) or ''}")

    def around(self, probes: int) -> None:
        """Check at points around: scaled, with signs turned, enlarged; points outside the domain are skipped."""
        random = np.random.default_rng(1)
        point = self.arguments.vector
        scales = self.arguments.scales()
        for factor in _FACTORS[:probes]:
            if self.findings:
                return
            jitter = random.integers(-32, 33, point.shape) / 64
            moved = np.where(point == 0, factor * scales * jitter, factor * point * (1 + jitter))
            moved = np.concatenate(
                [
                    moved[leaf.start : leaf.stop].astype(np.float32 if leaf.dtype != np.float64 else np.float64)
                    for leaf in self.arguments.leaves
                ]
            ).astype(np.float64)
            value, got = self.derivative.exact(moved)
            if not (np.isfinite(value) and np.all(np.isfinite(got))):
                continue
            # Rounding of the gradient in float64, which a point next to this one shows.
            noise = np.abs(self.derivative.exact(np.nextafter(moved, np.inf))[1] - got) * self.working_spacing / _EPS
            search = self._search(moved, got, noise)
            if np.isfinite(search.centre):
                where = f" Not at the arguments but near them (the arguments times about {factor:g})."
                self._report(search, search.run(), where)

    def _report(self, search: Search, found: Found, where: str) -> set[int]:
        verdict = found.verdict
        bad = ~verdict.accepted
        want = dict(zip(found.coordinates.tolist(), verdict.want.tolist(), strict=True))
        known = {
            leaf.path: {i - leaf.start: w for i, w in want.items() if leaf.start <= i < leaf.stop}
            for leaf in self.arguments.leaves
        }
        reported: set[int] = set()
        for leaf, axes in zip(self.arguments.leaves, self.axes, strict=True):
            inside = (found.coordinates >= leaf.start) & (found.coordinates < leaf.stop)
            wrong = inside & bad
            if not wrong.any():
                continue
            right = inside & ~bad & (np.abs(verdict.want) > 0)
            evidence = Evidence(
                leaf,
                search.got[leaf.start : leaf.stop],
                search.point[leaf.start : leaf.stop],
                found.coordinates[wrong] - leaf.start,
                verdict.want[wrong],
                verdict.flat[wrong],
                bool(verdict.jumps[wrong].any()),
                verdict.kink[wrong],
                int(right.sum()),
                known[leaf.path],
                axes,
                tuple(
                    (other.path, known[other.path])
                    for other in self.arguments.leaves
                    if other.path != leaf.path and other.shape == leaf.shape
                ),
            )
            kind, hint = classify(evidence)
            rows = np.flatnonzero(wrong)
            excess = np.abs(found.got[rows] - verdict.want[rows]) / np.maximum(verdict.tolerance[rows], 1e-300)
            entries: dict[int, float] = {}
            for row in rows[np.argsort(-excess)]:
                entry = int(found.coordinates[row] - leaf.start) % leaf.entries
                entries.setdefault(entry, float(verdict.tolerance[row]))
                reported.add(int(found.coordinates[row]))
            full = {**dict(enumerate(search.got.tolist())), **want} if leaf.complex else want
            for entry, tolerance in entries.items():
                self.findings.append(
                    Finding(
                        kind,
                        leaf.path,
                        leaf.index(leaf.start + entry),
                        number(self.arguments, leaf, entry, search.got),
                        number(self.arguments, leaf, entry, full),
                        tolerance,
                        hint + where,
                    )
                )
        return reported

    def _dead(self, search: Search, found: Found) -> None:
        zero = {
            int(i)
            for i, g, w, ok in zip(
                found.coordinates, found.got, found.verdict.want, found.verdict.accepted, strict=True
            )
            if ok and g == 0 and abs(w) <= 1e-12 * max(abs(search.centre), 1.0) / search.scales[int(i)]
        }
        noise = 4 * self.spacing * max(abs(search.centre), 1e-300)
        for leaf in self.arguments.leaves:
            own = [i for i in range(leaf.start, leaf.stop) if i in zero][:_DEAD]
            if not own:
                continue
            base = self.arguments.spans() * search.random.choice([-1.0, 1.0], search.scales.shape)
            ranges = [(i, i + 1) for i in own]
            if not np.any(search.got[leaf.start : leaf.stop]):
                ranges.append((leaf.start, leaf.stop))
            dead = jumps(self.lines, search.point, base, ranges, noise)
            places = [i for i, is_dead in zip(own, dead, strict=False) if is_dead]
            if not places and len(dead) > len(own) and dead[-1]:
                places = own
            self.findings += [
                Finding(
                    "dead leaf",
                    leaf.path,
                    leaf.index(i),
                    0.0,
                    0.0,
                    float(noise / search.scales[i]),
                    "the gradient is zero and yet the function moves, in jumps: a round, floor, sign, comparison or "
                    "cast to integer cuts the chain. Declare a surrogate (and pass reference=) or use a smooth form",
                )
                for i in places
            ]

    def _precision(self, value: float, got: np.ndarray, working: np.ndarray, reported: set[int]) -> None:
        eps = self.working_spacing
        if eps <= _EPS:
            return
        allowed = rounding_tolerance(self.derivative, self.arguments, self.arguments.vector, got, value, eps)
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(np.abs(working - got) > allowed)
        for i in wrong[np.argsort(-np.abs(working - got)[wrong] / allowed[wrong])].tolist():
            if i in reported:
                continue
            leaf = self.arguments.leaf_of(i)
            self.findings.append(
                Finding(
                    "precision",
                    leaf.path,
                    leaf.index(i),
                    float(working[i]),
                    float(got[i]),
                    float(allowed[i]),
                    f"the rule is right in float64 but at {leaf.dtype} more than half of the digits are lost, beyond "
                    "what rounding the arguments explains: look for a difference of nearly equal numbers, an "
                    "underflow or a sum kept in a narrow dtype",
                )
            )

    def not_finite_measurements(
        self, value: float, got: np.ndarray, working: np.ndarray
    ) -> dict[int, tuple[float, bool]]:
        """Differences where the gradient is not finite: slope, and whether it exists; inside `float64()`."""
        bad = np.flatnonzero(~np.isfinite(working))[:512]
        search = self._search(self.arguments.vector, np.where(np.isfinite(got), got, 0.0), None)
        if not np.isfinite(search.centre):
            return {}
        found = search.coordinates(bad.tolist())
        exists = found.verdict.sharp & np.isfinite(found.verdict.tolerance)
        rows = zip(found.coordinates.tolist(), found.verdict.want.tolist(), exists.tolist(), strict=True)
        return {i: (want, there) for i, want, there in rows}

    def not_finite(
        self,
        values: Sequence[Any],
        got: np.ndarray,
        working: np.ndarray,
        measured: Mapping[int, tuple[float, bool]],
    ) -> list[Finding]:
        """Coordinates whose gradient is not finite, with the equation that made it so; outside `float64()`.

        Args:
            values: The leaves at the working dtype.
            got: The gradient in float64.
            working: The gradient at the working dtype.
            measured: What `not_finite_measurements` returned.

        Returns:
            A finding for each coordinate.
        """
        bad = np.flatnonzero(~np.isfinite(working)).tolist()
        inputs = [*values] if self.derivative.mode == "rev" else [*values, *self.derivative.tangents(bad[0])]
        place = origin(self.derivative.program, inputs)
        told = f"It appears first in {place}. " if place else ""
        findings: list[Finding] = []
        for i in bad:
            leaf = self.arguments.leaf_of(i)
            want, exists = measured.get(i, (float("nan"), False))
            kind = "non-finite"
            if np.isfinite(got[i]):
                want, hint = float(got[i]), f"float64 gives a finite gradient: an overflow or underflow at {leaf.dtype}"
            elif np.isnan(working[i]) and place is not None and place.masked:
                kind, want = "nan through where", want if exists else float("nan")
                hint = (
                    "A branch that `where` discards makes 0 * inf in the backward pass: "
                    "make its argument safe inside the branch too (a second where around the input)"
                )
            elif exists:
                hint = "The function has a derivative here: a singular inner derivative is multiplied by zero"
            else:
                want, hint = float("nan"), "The function has no finite derivative here"
            findings.append(Finding(kind, leaf.path, leaf.index(i), float(working[i]), want, float("inf"), told + hint))
        return findings

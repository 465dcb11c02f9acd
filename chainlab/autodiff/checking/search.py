"""Find the coordinates where a declared gradient is wrong, without differencing all of a large leaf."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainlab.autodiff.checking.arguments import Arguments, Leaf
from chainlab.autodiff.checking.differences import RATIO, slopes
from chainlab.autodiff.checking.judge import Verdict, judge
from chainlab.autodiff.checking.programs import Lines

LEVELS = 6  # steps in a compiled call
_QUICK = tuple(range(3, 9))
_FULL = tuple(range(24))
_EVERY = 512  # leaves up to this size are differenced coordinate by coordinate
_BLOCKS = 16
_CHILDREN = 4
_FRONTIER = 24  # suspicious blocks that are followed at each depth of a leaf
_SAMPLED = 8  # coordinates of a large leaf that are differenced whatever the blocks say


@dataclass(frozen=True)
class Found:
    """Coordinates that were differenced, and the verdict on each."""

    coordinates: np.ndarray
    got: np.ndarray
    verdict: Verdict


class Search:
    """The search at one point.

    Attributes:
        point: The point, as a vector.
        got: The declared gradient there.
        floor: Rounding error of the declared gradient, by coordinate.
        scales: Natural length of a step, by coordinate.
    """

    def __init__(
        self,
        lines: Lines,
        arguments: Arguments,
        point: np.ndarray,
        got: np.ndarray,
        floor: np.ndarray,
        *,
        spacing: float,
        rtol: float,
    ) -> None:
        self.lines, self.arguments = lines, arguments
        self.point, self.got, self.floor = point, got, floor
        self.scales = arguments.scales()
        self.spacing, self.rtol = spacing, rtol
        self.random = np.random.default_rng(0)
        # By the program of the samples: another one rounds otherwise, and a flat function would seem to move.
        self.centre = float(lines(point, self.scales, [(0, 1)], np.zeros(1))[0, 0])

    def _measure(self, ranges: Sequence[tuple[int, int]], base: np.ndarray, levels: Sequence[int], stretch: float):
        steps = stretch * RATIO ** -np.asarray(levels, float)
        times = np.empty(2 * len(steps))
        times[0::2], times[1::2] = steps, -steps
        values = self.lines(self.point, base, ranges, times)
        largest = np.nanmax(np.where(np.isfinite(values), np.abs(values), np.nan), axis=1, initial=abs(self.centre))
        moved = np.abs(self.got * self.point)
        rounding = np.array([moved[a:b].sum() for a, b in ranges])
        noise = 2 * self.spacing * largest + 2e-16 * np.where(np.isfinite(rounding), rounding, 0.0)
        return slopes(np.full(len(ranges), self.centre), values[:, 0::2], values[:, 1::2], steps, noise)

    def judge(
        self, ranges: Sequence[tuple[int, int]], base: np.ndarray, rtol: float, *, final: bool
    ) -> tuple[np.ndarray, Verdict]:
        """Declared slopes along the ranges of a base direction, and the verdicts, in the scale of the base.

        Args:
            ranges: Ranges of coordinates.
            base: Direction.
            rtol: Relative tolerance.
            final: Whether a slope that is found wrong must be found wrong on three ladders of steps; a block on
                the way to its coordinates needs one.

        Returns:
            The declared slopes and the verdicts.
        """
        got = np.array([self.got[a:b] @ base[a:b] for a, b in ranges])
        visible = 1e-6 * abs(self.centre)
        floor = np.array([np.sqrt(np.sum((self.floor[a:b] * base[a:b]) ** 2)) for a, b in ranges])
        verdict = judge(got, self._measure(ranges, base, _QUICK, 1.0), rtol, floor, visible)
        again = np.flatnonzero(~verdict.sharp | (~verdict.accepted & final))
        if len(again):
            some = [ranges[i] for i in again.tolist()]
            second = judge(got[again], self._measure(some, base, _FULL, 1.0), rtol, floor[again], visible)
            wrong = np.flatnonzero(~second.accepted)
            if len(wrong) and final:  # a mistake has to show on another ladder too
                worst = [some[i] for i in wrong.tolist()]
                third = judge(
                    got[again][wrong], self._measure(worst, base, _FULL, 0.6), rtol, floor[again][wrong], visible
                )
                agree = ~third.accepted & (
                    np.abs(third.want - second.want[wrong]) <= 0.5 * np.abs(got[again][wrong] - second.want[wrong])
                )
                second.accepted[wrong] = ~agree
                second.sharp[wrong] &= agree
            for name in ("accepted", "sharp", "want", "tolerance", "kink", "flat", "jumps"):
                getattr(verdict, name)[again] = getattr(second, name)
        return got, verdict

    def coordinates(self, coordinates: Sequence[int]) -> Found:
        """Difference single coordinates."""
        if not len(coordinates):
            nothing = np.zeros(0)
            none = np.zeros(0, bool)
            return Found(np.zeros(0, int), nothing, Verdict(none, none, nothing, nothing, none, none, none))
        ranges = [(int(i), int(i) + 1) for i in coordinates]
        scale = self.scales[np.asarray(coordinates, int)]
        got, verdict = self.judge(ranges, self.scales, self.rtol, final=True)
        scaled = Verdict(
            verdict.accepted,
            verdict.sharp,
            verdict.want / scale,
            verdict.tolerance / scale,
            verdict.kink,
            verdict.flat,
            verdict.jumps,
        )
        return Found(np.asarray(coordinates, int), got / scale, scaled)

    def _directions(self, leaf: Leaf) -> list[np.ndarray]:
        """Two random directions: one in proportion to the values, one that evens out the gradient's entries."""
        size = self.arguments.size
        sign = self.random.choice([-1.0, 1.0], (2, size))
        length = self.random.integers(4, 9, (2, size)) / 8  # few bits, so that a step rounds nothing
        part = np.abs(self.got * self.scales)[leaf.start : leaf.stop]
        even = np.ones(size)
        if part.max() > 0:
            ratio = np.clip(part / np.sqrt(np.mean(part**2)), 1e-2, 1e2)
            even[leaf.start : leaf.stop] = 2.0 ** -np.round(np.log2(ratio))
        return [self.scales * sign[0] * length[0], self.scales * sign[1] * length[1] * even]

    def _suspects(self, leaf: Leaf) -> list[int]:
        suspects: set[int] = set()
        for base in self._directions(leaf):
            cuts = np.unique(np.linspace(leaf.start, leaf.stop, _BLOCKS + 1).astype(int)).tolist()
            frontier = list(itertools.pairwise(cuts))
            while frontier:
                got, verdict = self.judge(frontier, base, self.rtol / 10, final=False)
                excess = np.abs(got - verdict.want) / np.maximum(verdict.tolerance, 1e-300)
                order: list[int] = np.argsort(-excess).tolist()
                failing = [frontier[i] for i in order if not verdict.accepted[i]][:_FRONTIER]
                suspects.update(a for a, b in failing if b - a == 1)
                frontier = []
                for a, b in failing:
                    if b - a > 1:
                        inner = np.unique(np.linspace(a, b, _CHILDREN + 1).astype(int)).tolist()
                        frontier += list(itertools.pairwise(inner))
        return sorted(suspects)

    def candidates(self) -> list[int]:
        """Coordinates worth differencing: all of a small leaf; of a large one the suspects and a sample."""
        chosen: set[int] = set()
        for leaf in self.arguments.leaves:
            if leaf.stop - leaf.start <= _EVERY:
                chosen.update(range(leaf.start, leaf.stop))
                continue
            chosen.update(self._suspects(leaf))
            largest = np.argsort(-np.abs(self.got[leaf.start : leaf.stop]))[:_SAMPLED]
            some = self.random.integers(leaf.start, leaf.stop, _SAMPLED)
            chosen.update(int(leaf.start + i) for i in largest)
            chosen.update(int(i) for i in some)
        return sorted(chosen)

    def run(self) -> Found:
        """Difference every coordinate worth it; coordinates whose declared gradient is not finite are left out."""
        finite = [i for i in self.candidates() if np.isfinite(self.got[i])]
        return self.coordinates(finite)

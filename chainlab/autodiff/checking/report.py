"""What a check found: findings, each with its place, and the report that holds them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One wrong coordinate of a derivative.

    Attributes:
        kind: What kind of mistake it looks like, e.g. `"wrong sign"`, `"missing factor"`, `"dead leaf"`.
        leaf: Key path of the leaf, starting with the argument's name: `params['dense']['w']`.
        index: Coordinate inside the leaf, `()` for a scalar.
        got: The derivative under test.
        want: The derivative that was expected.
        tolerance: Largest difference that would have been accepted.
        hint: What it looks like and what to do, in a sentence.
    """

    kind: str
    leaf: str
    index: tuple[int, ...]
    got: complex | float
    want: complex | float
    tolerance: float
    hint: str = ""

    def __str__(self) -> str:
        """The finding in one line."""
        place = f"{self.leaf}[{', '.join(map(str, self.index))}]" if self.index else self.leaf
        return f"{self.kind} at {place}: got {self.got:.6g}, want {self.want:.6g} (± {self.tolerance:.1g}). {self.hint}"


@dataclass(frozen=True)
class Estimation:
    """What was measured of a stochastic estimator, by leaf.

    Attributes:
        draws: Gradients drawn.
        seconds: Wall time of the sampling.
        seconds_per_draw: Wall time of one draw.
        leaves: For each leaf: `bias` (largest, relative to the leaf's root mean square), `variance` (mean over
            coordinates), `detectable` (the smallest bias, relative to the coordinate, that this many draws
            would have shown at the coordinate where that is hardest).
    """

    draws: int
    seconds: float
    seconds_per_draw: float
    leaves: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Report:
    """The result of `chainlab.check`.

    Attributes:
        findings: The mistakes, the gravest first within each leaf.
        coordinates: Real coordinates of the arguments.
        differenced: Coordinates differenced one by one; the others were tested along directions.
        unresolved: Places where no difference was accurate enough to judge, as `leaf[index]`.
        notes: What was left out and why.
        seconds: Wall time of the check.
        estimation: Measurements of the estimator, where one was checked.
    """

    findings: Sequence[Finding] = ()
    coordinates: int = 0
    differenced: int = 0
    unresolved: Sequence[str] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
    estimation: Estimation | None = field(default=None)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        data: dict[str, Any] = {"ok": self.ok, **asdict(self)}
        findings: list[dict[str, Any]] = data["findings"]
        for finding in findings:
            for name in ("got", "want"):
                if isinstance(finding[name], complex):
                    finding[name] = [finding[name].real, finding[name].imag]
        return data

    def to_json(self) -> str:
        """The report as JSON; a complex number is `[real, imaginary]`, a number that is not finite is text."""

        def clean(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {k: clean(v) for k, v in value.items()}
            if isinstance(value, (list, tuple)):
                return [clean(v) for v in value]
            finite = not isinstance(value, float) or abs(value) < float("inf")
            return value if finite else str(value)

        return json.dumps(clean(self.to_dict()), indent=2)

    def __str__(self) -> str:
        """The report as text: the worst coordinates of every leaf and kind."""
        how = f"{self.differenced} of {self.coordinates} coordinates one by one, {self.seconds:.1f} s"
        lines = [f"the derivative is right ({how})" if self.ok else f"the derivative is wrong ({how})"]
        groups: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.leaf, finding.kind), []).append(finding)
        for members in groups.values():
            lines += [f"  {finding}" for finding in members[:2]]
            if len(members) > 2:
                lines.append(f"    and {len(members) - 2} more coordinates of {members[0].leaf}")
        if self.unresolved:
            lines.append(f"  not judged (no accurate difference): {', '.join(self.unresolved[:8])}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.estimation:
            e = self.estimation
            lines.append(f"  {e.draws} draws, {e.seconds_per_draw:.2g} s each")
            for leaf, row in e.leaves.items():
                lines.append(
                    f"    {leaf}: bias {row['bias']:.2g}, variance {row['variance']:.3g}, "
                    f"would have seen a bias of {row['detectable']:.1%}"
                )
        return "\n".join(lines)

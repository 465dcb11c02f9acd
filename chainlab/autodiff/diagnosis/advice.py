"""What the literature does about a gradient that does not arrive."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Advice(NamedTuple):
    """A cure and where it is described.

    Attributes:
        what: What to do.
        source: Paper and identifier.
    """

    what: str
    source: str


_CRITICAL = Advice(
    "start on the edge of chaos: weight variance sigma_w^2 / inputs with sigma_w = sqrt(2) for ReLU, 1 for tanh "
    "without bias (chainlab.deep.critical_sigma_w computes it for any activation)",
    "He et al., arXiv:1502.01852, equation 10; Schoenholz et al., arXiv:1611.01232, section 3",
)
_ORTHOGONAL = Advice(
    "start from (delta-)orthogonal weights, so that all singular values of the Jacobian stay near 1",
    "Saxe et al., arXiv:1312.6120; Pennington et al., arXiv:1711.04735; Xiao et al., arXiv:1806.05393",
)
_REZERO = Advice(
    "make every layer residual with a branch that starts at 0 (ReZero, SkipInit), or scale it by 1/sqrt(depth)",
    "Bachlechner et al., arXiv:2003.04887; De and Smith, arXiv:2002.10444",
)
_NORMAL = Advice(
    "normalise inside the residual branch (pre-norm), or scale the stream (DeepNorm) when post-norm is wanted",
    "Xiong et al., arXiv:2002.04745; Wang et al., arXiv:2203.00555",
)
_CLIP = Advice(
    "clip the gradient by its global norm, or unit by unit (AGC); this treats the symptom",
    "Pascanu et al., arXiv:1211.5063, section 3.2; Brock et al., arXiv:2102.06171, equation 3",
)
_SCALE = Advice(
    "if only low precision underflows, scale the loss or keep the adjoint in float32",
    "Micikevicius et al., arXiv:1710.03740, section 3.2",
)
WIDTH = Advice(
    "widen the layers: at criticality the drift of a gradient's logarithm is proportional to depth / width",
    "Hanin, arXiv:1801.03744, theorem 1",
)

ADVICE: Mapping[str, tuple[Advice, ...]] = MappingProxyType(
    {
        "vanishing": (_CRITICAL, _ORTHOGONAL, _REZERO, WIDTH, _SCALE),
        "exploding": (_CRITICAL, _NORMAL, _REZERO, WIDTH, _CLIP),
        "collapsed": (
            Advice(
                "a skip connection keeps inputs apart: without one every ReLU layer pulls their cosine towards 1",
                "Balduzzi et al., arXiv:1702.08591; Dong et al., arXiv:2103.03404 for attention",
            ),
            _REZERO,
            Advice(
                "without skips, use an activation and weights whose correlation map is nearly linear",
                "Martens et al., arXiv:2110.01765; Poole et al., arXiv:1606.05340",
            ),
        ),
        "saturated": (
            Advice(
                "use smaller weights before it, or Glorot's variance 2 / (inputs + outputs)", "Glorot and Bengio 2010"
            ),
            _NORMAL,
        ),
        "dead": (
            Advice(
                "lower the rate or the biases, or use an activation that is not flat below 0 (leaky ReLU, GELU)",
                "Lu et al., Dying ReLU, arXiv:1903.06733; Maas et al. 2013",
            ),
            _NORMAL,
        ),
        "non-finite": (
            Advice(
                "run chainlab.check on the function: it names the first equation that makes a value that is not finite",
                "chainlab.check",
            ),
            Advice(
                "lower the rate or warm it up; look for log, division and sqrt at 0", "Pascanu et al., arXiv:1211.5063"
            ),
            _SCALE,
        ),
    }
)
"""Cures by problem, the most effective first."""

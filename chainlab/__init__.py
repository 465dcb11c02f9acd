"""chainlab: a laboratory for gradients.

Everything is a chain of pure functions, and its gradient is one more pure function that you can see,
check, measure and reproduce. Names are loaded on first use: importing chainlab imports neither JAX nor
PennyLane. The stub beside this file is the list of public names.
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# A checkout that is on PYTHONPATH without being installed keeps `experiments/` beside this package; an
# installed one has it inside (setuptools' package-dir). Both are imported as `chainlab.experiments`.
_checkout = Path(__file__).parents[1]
if (_checkout / "pyproject.toml").is_file() and (_checkout / "experiments").is_dir():
    __path__.append(str(_checkout))

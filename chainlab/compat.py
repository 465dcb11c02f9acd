"""Two JAX symbols that PennyLane 0.45 calls and JAX 0.11 removed from its public face.

They are `jax.core.is_concrete` (called in PennyLane's `math/utils.py`) and `jax.core.concrete_or_error` (in its
`math/single_dispatch.py`). Nothing is touched on a JAX that still has them.
"""

import jax
import jax.core


def restore_removed_symbols() -> None:
    """Put back what PennyLane looks up in `jax.core`, from where JAX keeps it now."""
    if jax.__version_info__ >= (0, 11):
        from jax._src import core

        for name in ("is_concrete", "concrete_or_error"):
            setattr(jax.core, name, getattr(core, name))

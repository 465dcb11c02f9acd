"""Two JAX symbols that PennyLane 0.45 calls and JAX 0.11 removed from its public face.

`jax.core.is_concrete` (PennyLane's `math/utils.py`) and `jax.core.concrete_or_error` (its
`math/single_dispatch.py`). Nothing is touched where JAX still has them.
"""

import jax.core


def restore_removed_symbols() -> None:
    """Put back what PennyLane looks up in `jax.core`, from where JAX keeps it now."""
    names = [name for name in ("is_concrete", "concrete_or_error") if not hasattr(jax.core, name)]
    if names:
        from jax._src import core

        for name in names:
            setattr(jax.core, name, getattr(core, name))

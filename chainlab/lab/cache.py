"""Where what was compiled and measured on this machine is kept; imports no JAX."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where compiled programs are kept: `$CHAINLAB_CACHE`, else the user's cache folder."""
    named = os.environ.get("CHAINLAB_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "chainlab" / "xla"

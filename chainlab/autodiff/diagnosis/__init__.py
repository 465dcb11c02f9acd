"""Where a gradient lives, and where it dies: statistics of every layer's value and adjoint in one pass."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Compressed gradients: what a worker sends, how the workers' mean is formed, and what it costs on the wire."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The gradient laboratory: explain, check and diagnose any derivative; knows no domain."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

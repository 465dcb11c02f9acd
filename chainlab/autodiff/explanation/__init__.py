"""The chain rule made visible: the graph of a function, its adjoints, local derivatives and paths."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

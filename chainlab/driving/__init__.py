"""Driving: recorded and simulated drives, sensor fusion, filters, calibration and closed-loop control."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

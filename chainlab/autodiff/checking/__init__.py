"""Is this derivative right? The parts of `chainlab.check`."""

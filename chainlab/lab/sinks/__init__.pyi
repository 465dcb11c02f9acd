from .sink import Sink as Sink
from .sink import flatten as flatten
from .sink import open as open

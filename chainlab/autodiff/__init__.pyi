from .rules import accumulate as accumulate
from .rules import backprop as backprop

from .declare import config as config
from .declare import experiment as experiment

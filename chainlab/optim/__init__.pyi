from . import compression as compression
from .config import OptimizerConfig as OptimizerConfig
from .config import ScheduleConfig as ScheduleConfig
from .construct import build as build
from .construct import schedule as schedule
from .rigl import rigl as rigl
from .signature import optimizers as optimizers
from .signature import schedules as schedules

from . import compression as compression
from .config import OptimizerConfig as OptimizerConfig
from .config import ScheduleConfig as ScheduleConfig
from .construct import build as build
from .construct import schedule as schedule
from .signature import optimizers as optimizers
from .signature import schedules as schedules
from .sparse_training import rigl as rigl

from .frames import load_curves as load_curves
from .frames import load_runs as load_runs
from .supervised import TrainState as TrainState
from .supervised import supervised as supervised
from .task import Panel as Panel
from .task import Subject as Subject
from .task import Task as Task

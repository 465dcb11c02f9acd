from . import autodiff as autodiff
from . import data as data
from . import deep as deep
from . import driving as driving
from . import federated as federated
from . import gan as gan
from . import interop as interop
from . import lab as lab
from . import nn as nn
from . import optim as optim
from . import quantum as quantum
from . import spiking as spiking
from . import transformer as transformer
from .autodiff.checking.api import check as check
from .autodiff.diagnosis.diagnoser import diagnose as diagnose
from .autodiff.diagnosis.taps import tap as tap
from .autodiff.explanation.explainer import explain as explain
from .declare import config as config
from .declare import experiment as experiment
from .lab.task import Panel as Panel
from .lab.task import Subject as Subject
from .lab.task import Task as Task

__version__: str

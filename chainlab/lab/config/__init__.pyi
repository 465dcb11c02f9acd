from .document import Document as Document
from .document import load as load
from .envelope import Claim as Claim
from .envelope import Diagnose as Diagnose
from .envelope import Envelope as Envelope
from .envelope import RunConfig as RunConfig
from .locate import find as find

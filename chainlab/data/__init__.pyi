from .batches import Data as Data
from .batches import Origin as Origin
from .batches import in_memory as in_memory
from .batches import sampled as sampled
from .shuffle import permute as permute

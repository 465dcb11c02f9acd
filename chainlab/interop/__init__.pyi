from .linen import from_linen as from_linen
from .nir_export import to_nir as to_nir
from .nir_import import from_nir as from_nir
from .nnx import from_nnx as from_nnx
from .tensors import dotted as dotted
from .tensors import load_tensors as load_tensors
from .tensors import save_tensors as save_tensors

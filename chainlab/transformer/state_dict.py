"""Weights in and out of GPT-2's names: nanoGPT's state dicts and Hugging Face's GPT-2, as safetensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from chainlab.errors import DataError, UsageError
from chainlab.transformer.architecture import Architecture
from chainlab.typing import Params

StateDict = dict[str, Shaped[np.ndarray, "..."]]

_PREFIX = re.compile(r"^(_orig_mod\.)?(transformer\.)?")  # torch.compile and GPT-2's head model wrap the names
_BUFFER = re.compile(r"^h\.\d+\.attn\.(masked_)?bias$")  # causal masks, not weights
_LAYERS = {
    "ln_1": ("attention_norm",),
    "attn.c_proj": ("attention", "out"),
    "ln_2": ("mlp_norm",),
    "mlp.c_fc": ("mlp", "up"),
    "mlp.c_proj": ("mlp", "down"),
}
_FIXED = {
    "experts": None,
    "mix": 0,
    "mlp": ("gelu", "gelu_tanh"),
    "norm": "layer",
    "norm_embedding": False,
    "pattern": ("global",),
    "positions": "learned",
    "qk_norm": False,
    "softcap": None,
    "tied": True,
}


def export_state_dict(
    params: Params, architecture: Architecture, *, layout: Literal["linear", "conv1d"] = "linear"
) -> StateDict:
    """Name a model's weights as GPT-2 does.

    Args:
        params: Parameters of a `language_model`.
        architecture: Its shape: GPT-2's, that is global attention with as many key heads as query heads,
            learned positions, LayerNorm, a GELU MLP and a tied head.
        layout: `linear` stores matrices as (outputs, inputs), as nanoGPT; `conv1d` as (inputs, outputs), as
            Hugging Face's GPT-2.

    Returns:
        Arrays by name, `transformer.wte.weight`, ..., `lm_head.weight`.

    Raises:
        UsageError: The architecture has a part that GPT-2 has no name for.
    """
    for name, wanted in _FIXED.items():
        got = getattr(architecture, name)
        if got != wanted and not (isinstance(wanted, tuple) and name == "mlp" and got in wanted):
            raise UsageError(f"GPT-2's state dict has no place for {name}={got!r}: it needs {name}={wanted!r}")
    if architecture.groups != architecture.heads:
        raise UsageError(
            f"GPT-2's state dict needs kv_heads = heads, got {architecture.groups} of {architecture.heads}"
        )

    def matrix(weight: Any) -> np.ndarray:
        weight = np.asarray(weight)
        return np.ascontiguousarray(weight.T if layout == "linear" else weight)

    tensors: StateDict = {
        "transformer.wte.weight": np.asarray(params["tokens"]["table"]),
        "transformer.wpe.weight": np.asarray(params["positions"]["table"]),
    }

    def put(name: str, leaves: Mapping[str, Any], index: int | None = None) -> None:
        for kind, leaf in leaves.items():
            value = leaf if index is None else leaf[index]
            tensors[f"transformer.{name}.{'weight' if kind == 'gain' else kind}"] = (
                matrix(value) if kind == "weight" else np.asarray(value)
            )

    blocks = params["blocks"]["0"]
    for index in range(architecture.layers):
        parts = [blocks["attention"][name] for name in ("query", "key", "value")]
        joined = {kind: np.concatenate([np.asarray(part[kind][index]) for part in parts], axis=-1) for kind in parts[0]}
        put(f"h.{index}.attn.c_attn", joined)
        for name, path in _LAYERS.items():
            leaves: Any = blocks
            for step in path:
                leaves = leaves[step]
            put(f"h.{index}.{name}", leaves, index)
    put("ln_f", params["norm"])
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return tensors


def import_state_dict(
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
    *,
    heads: int,
    mlp: Literal["gelu", "gelu_tanh"] = "gelu",
    vocabulary: int | None = None,
) -> tuple[Architecture, Params]:
    """Read GPT-2's names into a model's parameters; both layouts of matrices are recognised.

    Args:
        tensors: Arrays by name, with or without the prefixes `_orig_mod.` and `transformer.`.
        heads: Attention heads, which the shapes do not tell (GPT-2 has heads of 64 features).
        mlp: `gelu` for nanoGPT, `gelu_tanh` for OpenAI's GPT-2 weights.
        vocabulary: The number of tokens that the caller's tokenizer has, if it shall be checked.

    Returns:
        The shape and the parameters.

    Raises:
        DataError: A tensor is missing, unknown, or of another shape than the rest demand, or the head is not tied.
        UsageError: The vocabulary differs, or `heads` does not divide the width.
    """
    named = {_PREFIX.sub("", name): np.asarray(value) for name, value in tensors.items()}
    named = {name: value for name, value in named.items() if not _BUFFER.match(name)}
    used: set[str] = set()

    def take(name: str, *shape: int | None) -> np.ndarray:
        if name not in named:
            raise DataError(f"state dict: {name!r} is missing; it holds {', '.join(sorted(named)[:6])}, ...")
        used.add(name)
        value = named[name]
        if shape and (
            value.ndim != len(shape) or any(s not in (None, d) for s, d in zip(shape, value.shape, strict=True))
        ):
            raise DataError(f"state dict: {name!r} must have shape {shape}, got {value.shape}")
        return value

    table = take("wte.weight", None, None)
    size, dim = table.shape
    if vocabulary is not None and vocabulary != size:
        raise UsageError(f"the weights have {size} tokens, the tokenizer {vocabulary}: they do not belong together")
    context = take("wpe.weight", None, dim).shape[0]
    numbers = {int(match[1]) for name in named if (match := re.match(r"h\.(\d+)\.", name))}
    layers = len(numbers)
    if numbers != set(range(layers)) or not layers:
        raise DataError(f"state dict: blocks must be h.0 ... h.n, got {sorted(numbers)}")
    bias = "h.0.attn.c_attn.bias" in named
    conv1d = take("h.0.attn.c_attn.weight").shape == (dim, 3 * dim)
    wide = take("h.0.mlp.c_fc.weight").shape
    hidden = wide[1] if conv1d else wide[0]
    architecture = Architecture(layers=layers, heads=heads, dim=dim, context=context, hidden=hidden, bias=bias, mlp=mlp)

    def matrix(name: str, inputs: int, outputs: int) -> Params:
        shape = (inputs, outputs) if conv1d else (outputs, inputs)
        weight = take(f"{name}.weight", *shape)
        leaves = {"weight": weight if conv1d else weight.T}
        return {"bias": take(f"{name}.bias", outputs), **leaves} if bias else leaves

    def norm(name: str) -> Params:
        leaves = {"gain": take(f"{name}.weight", dim)}
        return {"bias": take(f"{name}.bias", dim), **leaves} if bias else leaves

    def block(index: int) -> Params:
        at = f"h.{index}"
        joined = matrix(f"{at}.attn.c_attn", dim, 3 * dim)
        parts = {kind: np.split(leaf, 3, axis=-1) for kind, leaf in joined.items()}
        heads_of = {n: {kind: part[i] for kind, part in parts.items()} for i, n in enumerate(("query", "key", "value"))}
        return {
            "attention": {**heads_of, "out": matrix(f"{at}.attn.c_proj", dim, dim)},
            "attention_norm": norm(f"{at}.ln_1"),
            "mlp": {"down": matrix(f"{at}.mlp.c_proj", hidden, dim), "up": matrix(f"{at}.mlp.c_fc", dim, hidden)},
            "mlp_norm": norm(f"{at}.ln_2"),
        }

    params = {
        "blocks": {"0": _stack([block(index) for index in range(layers)])},
        "norm": _stack([norm("ln_f")], join=False),
        "positions": {"table": jnp.asarray(named["wpe.weight"])},
        "tokens": {"table": jnp.asarray(table)},
    }
    if "lm_head.weight" in named and not np.array_equal(take("lm_head.weight", size, dim), table):
        raise DataError("state dict: lm_head.weight differs from wte.weight, but GPT-2's head is tied to its embedding")
    unknown = sorted(set(named) - used)
    if unknown:
        raise DataError(f"state dict: unknown tensors {', '.join(unknown)}")
    return architecture, params


def _stack(trees: list[Any], *, join: bool = True) -> Any:
    """Stack the leaves of nested dicts along a new leading axis."""
    first = trees[0]
    if isinstance(first, dict):
        return {name: _stack([tree[name] for tree in trees], join=join) for name in first}
    return jnp.stack(trees) if join else jnp.asarray(first)


def save_state_dict(path: str | Path, tensors: StateDict) -> None:
    """Write a state dict as safetensors, which PyTorch and Hugging Face read without pickle.

    Args:
        path: The file; refused if it exists.
        tensors: Arrays by name.

    Raises:
        UsageError: The file exists.
    """
    from safetensors.numpy import save_file

    if Path(path).exists():
        raise UsageError(f"{path} exists; choose another name")
    save_file(tensors, str(path))


def load_state_dict(path: str | Path) -> StateDict:
    """Read a safetensors file.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        DataError: The file is missing or is not safetensors (a pickled `.pt` or `.bin` is never opened).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except SafetensorError as error:
        raise DataError(f"{path}: not a safetensors file ({error}); pickled weights must be converted first") from error

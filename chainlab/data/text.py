"""Text as tokens: bytes or characters, mapped from the file, in windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Shaped

from chainlab.data.batches import Data, Origin
from chainlab.data.locate import existing, locate, sha256
from chainlab.errors import DataError, UsageError
from chainlab.typing import Batch, PRNGKey

_KNOWN = {
    "tinyshakespeare": (
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "public domain",
        "put https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
        " as tinyshakespeare.txt into a folder that CHAINLAB_DATA names",
    )
}


@dataclass(frozen=True)
class Text:
    """A text as token numbers.

    Attributes:
        train: Tokens to train on.
        validation: Tokens that follow them.
        vocabulary: What each token stands for, in token order: characters, or single bytes.
        origin: Where the text came from.
    """

    train: Shaped[np.ndarray, " train"]
    validation: Shaped[np.ndarray, " validation"]
    vocabulary: tuple[str, ...] | tuple[bytes, ...]
    origin: Origin

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """The tokens of a text.

        Args:
            text: Any text over the vocabulary.

        Returns:
            One token a character (of the UTF-8 bytes, when the tokens are bytes).

        Raises:
            DataError: A character is not in the vocabulary.
        """
        if len(self.vocabulary) == 256 and isinstance(self.vocabulary[0], bytes):
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        number = {character: token for token, character in enumerate(self.vocabulary)}
        unknown = next((c for c in text if c not in number), None)
        if unknown is not None:
            raise DataError(f"{self.origin.name}: {unknown!r} is not one of its {len(number)} characters")
        return np.array([number[c] for c in text], np.int32)

    def decode(self, tokens: Integer[np.ndarray | Array, " tokens"]) -> str:
        """The text of some tokens.

        Args:
            tokens: Token numbers.

        Returns:
            The text; bytes that are not UTF-8 show as the replacement character.
        """
        pieces = [self.vocabulary[int(token)] for token in tokens]
        return b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces).decode(errors="replace")

    def batches(self, batch_size: int, length: int) -> Data:
        """Windows at random places of the training text, as nanoGPT draws them.

        Args:
            batch_size: Windows in a batch.
            length: Tokens in a window.

        Returns:
            Data whose batches and splits hold `x` and `y` (batch, length) int32, `y` one token ahead; the
            `validation` split is the validation text cut into windows one after another.

        Raises:
            UsageError: A part of the text is shorter than one window.
        """
        return windows(self.train, batch_size, length, splits={"validation": self.validation}, origin=self.origin)


def windows(
    tokens: Shaped[np.ndarray, " tokens"],
    batch_size: int,
    length: int,
    *,
    splits: Mapping[str, Shaped[np.ndarray, "..."]] | None = None,
    origin: Origin = Origin("unnamed"),
) -> Data:
    """Batches of windows at uniformly random places of a token sequence.

    Args:
        tokens: The sequence.
        batch_size: Windows in a batch.
        length: Tokens in a window.
        splits: Sequences that are cut into windows one after another, by name.
        origin: Where the tokens came from.

    Returns:
        Data whose batches hold `x` and `y` (batch, length) int32, `y` one token ahead of `x`.

    Raises:
        UsageError: A size is less than 1, or a sequence is shorter than one window and its next token.

    Example:
        >>> import jax, numpy as np
        >>> data = windows(np.arange(100), batch_size=4, length=8)
        >>> batch = data.batch(jax.random.key(0), 0)
        >>> batch["x"].shape, bool((batch["y"] == batch["x"] + 1).all())
        ((4, 8), True)
    """
    if batch_size < 1 or length < 1:
        raise UsageError(f"batch_size and length must be at least 1, got {batch_size} and {length}")
    for name, part in {"train": tokens, **(splits or {})}.items():
        if len(part) < length + 1:
            raise UsageError(
                f"{origin.name}: {name} holds {len(part)} tokens, wanted at least {length + 1} for one window"
            )

    def cut(part: Shaped[np.ndarray, "..."]) -> dict[str, Int[np.ndarray, "..."]]:
        count = (len(part) - 1) // length
        x, y = (np.asarray(part[i : i + count * length], np.int32).reshape(count, length) for i in (0, 1))
        return {"x": x, "y": y}

    def plan(key: PRNGKey, position: Int[Array, ""]) -> Int[Array, " batch"]:
        return jax.random.randint(jax.random.fold_in(key, position), (batch_size,), 0, len(tokens) - length)

    def gather(source: Shaped[Array | np.ndarray, " tokens"], starts: Int[Array, " batch"]) -> Batch:
        index = jnp.expand_dims(starts, 1) + jnp.arange(length + 1, dtype=jnp.int32)[None, :]
        window = jnp.take(source, index, axis=0).astype(jnp.int32)
        return {"x": window[:, :-1], "y": window[:, 1:]}

    parts = {name: cut(part) for name, part in (splits or {}).items()}
    return Data(tokens, plan, gather, parts, max(1, len(tokens) // (batch_size * length)), origin)


def from_text(path: str | Path, *, level: str = "character", train: float = 0.9) -> Text:
    """A UTF-8 text by characters, or any file by bytes.

    Bytes are mapped from the file, so that a corpus larger than memory opens at once. Characters get the
    smallest unsigned type that holds the vocabulary.

    Args:
        path: The file, or the name `tinyshakespeare` (looked for in `$CHAINLAB_DATA`).
        level: `character` (the vocabulary is the sorted characters of the whole text) or `byte` (256 tokens).
        train: Share of the text, from its start, to train on; nanoGPT's 0.9 by default.

    Returns:
        The text.

    Raises:
        UsageError: `level` or `train` is not one of the above.
        MissingDataError: There is no such file.
        DataError: The file is empty, or not UTF-8; names the offset.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "hamlet.txt"
        >>> _ = file.write_text("to be or not to be")
        >>> text = from_text(file)
        >>> text.encode("to be").tolist(), text.decode(text.encode("to be"))
        ([6, 4, 0, 1, 2], 'to be')
    """
    if level not in ("character", "byte"):
        raise UsageError(f"level must be 'character' or 'byte', got {level!r}")
    if not 0 < train < 1:
        raise UsageError(f"train must be a share between 0 and 1, got {train}")
    name, licence, published = Path(path).stem, None, None
    if str(path) in _KNOWN:
        published, licence, how = _KNOWN[str(path)]
        (file,) = locate(name, [f"{name}.txt"], how=how)
    else:
        file = existing(path)
    if file.stat().st_size == 0:
        raise DataError(f"{file}: wanted a text, got an empty file")
    digest = sha256(file)
    if published and digest != published:
        raise DataError(
            f"{file}: not the published {name}: wanted sha256 {published}, got {digest}; give its path instead"
        )
    vocabulary: tuple[str, ...] | tuple[bytes, ...]
    if level == "byte":
        tokens = np.memmap(file, np.uint8, mode="r")
        vocabulary = tuple(bytes([value]) for value in range(256))
    else:
        tokens, vocabulary = _characters(file)
    cut = int(len(tokens) * train)
    return Text(tokens[:cut], tokens[cut:], vocabulary, Origin(name, str(file), digest, licence))


def _characters(file: Path) -> tuple[Shaped[np.ndarray, " tokens"], tuple[str, ...]]:
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: offset {error.start}: wanted UTF-8, got byte {error.object[error.start]:#04x} ({error.reason});"
            " bytes work with level 'byte'"
        ) from None
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    present, tokens = np.unique(points, return_inverse=True)
    return tokens.astype(np.min_scalar_type(len(present) - 1)), tuple(map(chr, present))

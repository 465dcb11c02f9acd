"""What language models read: texts, and images of digits as sequences."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Shaped

from chainlab.data.batches import Data, Origin, in_memory, sampled
from chainlab.data.text import Text, from_text, windows
from chainlab.errors import MissingDependencyError, UsageError
from chainlab.typing import Batch, PRNGKey

GREY_LEVELS = 17
"""Grey levels of a digit's pixel, 0 to 16; the labels 0 to 9 follow them as tokens."""


@dataclass(frozen=True)
class BytePairText:
    """A text in tokens of byte-pair encoding; stands where a `chainlab.data.Text` does.

    Attributes:
        train: Tokens to train on.
        validation: Tokens that follow them.
        vocabulary: What each token stands for.
        origin: Where the text came from.
        tokenizer: The `tokenizers.Tokenizer`.
    """

    train: Shaped[np.ndarray, " train"]
    validation: Shaped[np.ndarray, " validation"]
    vocabulary: tuple[str, ...]
    origin: Origin
    tokenizer: Any

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """The tokens of a text; every text has some, since single bytes are tokens."""
        return np.asarray(self.tokenizer.encode(text).ids, np.int32)

    def decode(self, tokens: Integer[np.ndarray | Array, " tokens"]) -> str:
        """The text of some tokens."""
        return self.tokenizer.decode([int(token) for token in tokens])


def byte_pairs(text: Text, vocabulary: int) -> BytePairText:
    """Encode a text by byte pairs that are learned from its training part.

    Args:
        text: The text as bytes.
        vocabulary: Number of tokens, at least 257.

    Returns:
        The text in the new tokens.

    Raises:
        MissingDependencyError: The library `tokenizers` is not installed.

    References:
        Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, arXiv:1508.07909, section 3.2.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingDependencyError("tokenizers", "text", "byte-pair encoding") from error

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    parts = [bytes(part).decode(errors="replace") for part in (text.train, text.validation)]
    tokenizer.train_from_iterator(parts[0].splitlines(keepends=True), trainer)
    train, validation = (np.asarray(tokenizer.encode(part).ids, np.uint32) for part in parts)
    names = tuple(str(tokenizer.id_to_token(index)) for index in range(tokenizer.get_vocab_size()))
    return BytePairText(train, validation, names, text.origin, tokenizer)


def fixed_batches(
    tokens: Shaped[np.ndarray, " tokens"], count: int, batch_size: int, length: int, *, name: str
) -> dict[str, Int[np.ndarray, "batches batch seq"]]:
    """Random windows that are the same in every run, so that evaluations compare.

    Args:
        tokens: The text.
        count: Number of batches.
        batch_size: Windows in a batch.
        length: Tokens in a window.
        name: What the text is, for the error.

    Returns:
        `x` and `y`, `y` one token ahead.

    Raises:
        UsageError: The text is shorter than one window and its next token.

    Example:
        >>> batches = fixed_batches(np.arange(100), count=2, batch_size=3, length=5, name="numbers")
        >>> batches["x"].shape, bool((batches["y"] == batches["x"] + 1).all())
        ((2, 3, 5), True)
    """
    if len(tokens) < length + 1:
        raise UsageError(
            f"{name} holds {len(tokens)} tokens, wanted at least {length + 1}: a context and its next token"
        )
    starts = np.random.default_rng(1337).integers(0, len(tokens) - length, (count, batch_size, 1))
    index = starts + np.arange(length + 1)
    window = np.asarray(tokens)[index].astype(np.int32)
    return {"x": window[..., :-1], "y": window[..., 1:]}


def text_source(
    source: str,
    *,
    tokens: Literal["character", "byte", "bpe"] = "character",
    vocabulary: int = 512,
    train: float = 0.9,
    held_out: float = 0.0,
    batch_size: int = 12,
    length: int = 64,
    evaluation_batches: int = 200,
) -> tuple[Data, Text | BytePairText]:
    """Batches of a text by nanoGPT's protocol: random windows, the first part to train on, the rest to validate.

    Args:
        source: A file, or `tinyshakespeare`.
        tokens: What a token is.
        vocabulary: Number of tokens for `bpe`.
        train: Share of the text to train on.
        held_out: Share of the training text, at its end, that replaces the validation text.
        batch_size: Windows in a batch.
        length: Tokens in a window.
        evaluation_batches: Fixed random batches of each evaluation.

    Returns:
        The batches, with the splits `validation` and `validation_20` (its first 20 batches, the size of
        nanoGPT's own evaluation), and the text with its tokenizer.

    Raises:
        UsageError: A part of the text is shorter than one window and its next token.
        DataError: The file is missing, empty, or not UTF-8.
    """
    text: Text | BytePairText = from_text(source, level="character" if tokens == "character" else "byte", train=train)
    if tokens == "bpe":
        text = byte_pairs(text, vocabulary)
    learn, judge, name = text.train, text.validation, "the validation text"
    if held_out:
        cut = int(len(learn) * (1 - held_out))
        learn, judge, name = learn[:cut], learn[cut:], "the held-out text"
    data = windows(learn, batch_size, length, origin=text.origin)
    batches = fixed_batches(judge, evaluation_batches, batch_size, length, name=f"{source}: {name}")
    first = {axis: part[:20] for axis, part in batches.items()}
    return replace(data, splits={"validation": batches, "validation_20": first}), text


def digit_sequences(batch_size: int, *, evaluation_batch: int = 60) -> Data:
    """Scikit-learn's digits as sequences: 64 grey levels row by row, then the label as a token of its own.

    The last prediction of a sequence is then a classification, with the whole image read.

    Args:
        batch_size: Sequences in a batch.
        evaluation_batch: Sequences of a batch of the test split, the last 360 images.

    Returns:
        Batches of `x` and `y` (batch, 64), `y` one token ahead.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    labels = digits.target[order, None] + GREY_LEVELS
    rows = np.concatenate([digits.data[order], labels], axis=1).astype(np.int32)

    def parts(rows: Array | np.ndarray) -> Batch:
        return {"x": rows[..., :-1], "y": rows[..., 1:]}

    test = parts(rows[-360:].reshape(-1, evaluation_batch, rows.shape[1]))
    return in_memory(
        rows[:-360],
        batch_size,
        splits={"test": test},
        origin=Origin("digits", "scikit-learn", None, "CC BY 4.0"),
        transform=parts,
    )


def random_sequences(vocabulary: int, batch_size: int, length: int) -> Data:
    """Uniform random tokens, for planning and for measuring speed: there is nothing to learn in them.

    Args:
        vocabulary: Number of tokens.
        batch_size: Sequences in a batch.
        length: Tokens in a sequence.

    Returns:
        Batches of `x` and `y` (batch, length), `y` one token ahead, and a split of one batch.

    Example:
        >>> import jax
        >>> random_sequences(300, 4, 16).batch(jax.random.key(0), 0)["x"].shape
        (4, 16)
    """

    def draw(key: PRNGKey) -> Batch:
        tokens = jax.random.randint(key, (batch_size, length + 1), 0, vocabulary, dtype=jnp.int32)
        return {"x": tokens[:, :-1], "y": tokens[:, 1:]}

    rows = np.random.default_rng(0).integers(0, vocabulary, (1, batch_size, length + 1), np.int32)
    return sampled(draw, splits={"test": {"x": rows[..., :-1], "y": rows[..., 1:]}}, origin=Origin("random tokens"))

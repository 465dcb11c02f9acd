"""The server's door: answers that came over a network are checked before anything is computed with them."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from chainlab.errors import UsageError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a client sent.

    Attributes:
        client: Its number.
        round: The round that it answers.
        message: Its message, of the template's structure, as arrays.
        weight: Its weight in the mean.
    """

    client: int
    round: int
    message: PyTree
    weight: float


@dataclass(frozen=True)
class Rejection:
    """An answer that was refused.

    Attributes:
        client: Who sent it.
        reason: What is wrong, wanted and got.
    """

    client: int
    reason: str


@dataclass(frozen=True)
class Inbox:
    """Admits the answers of one round.

    Attributes:
        round: The round that runs.
        asked: Clients of its cohort.
        template: A message as it should be (arrays or shapes).
        limit: Most bytes of a message.

    Example:
        >>> inbox = Inbox(round=3, asked=frozenset({0, 1}), template={"delta": np.zeros(2, np.float32)})
        >>> good, bad = inbox.admit([Answer(0, 2, {"delta": np.ones(2, np.float32)}, 5.0)])
        >>> good, bad[0].reason
        ([], 'round: wanted 3, got 2 (late, replayed or forged)')
    """

    round: int
    asked: frozenset[int]
    template: PyTree
    limit: int = 1 << 30

    def __post_init__(self) -> None:
        if self.round < 0 or self.limit < 1:
            raise UsageError(f"inbox: wanted round >= 0 and limit >= 1 byte, got {self.round} and {self.limit}")

    def admit(self, answers: Iterable[Answer]) -> tuple[list[Answer], list[Rejection]]:
        """Part the answers that may be used from those that may not; the latter are named in the log.

        Args:
            answers: In the order in which they came; of two good ones from a client the first counts.

        Returns:
            The accepted answers, and the rejections.
        """
        accepted: dict[int, Answer] = {}
        rejections: list[Rejection] = []
        for answer in answers:
            reason = self._mistake(answer)
            if reason is None and answer.client in accepted:
                reason = f"client {answer.client} already answered round {self.round}"
            if reason is None:
                accepted[answer.client] = answer
            else:
                rejections.append(Rejection(answer.client, reason))
                _log.warning("round %d: update of client %s rejected: %s", self.round, answer.client, reason)
        return list(accepted.values()), rejections

    def _mistake(self, answer: Answer) -> str | None:
        if answer.client not in self.asked:
            return f"client {answer.client} was not asked in round {self.round}"
        if answer.round != self.round:
            return f"round: wanted {self.round}, got {answer.round} (late, replayed or forged)"
        if not (np.isfinite(answer.weight) and answer.weight > 0):
            return f"weight: wanted a finite number > 0 (a client without data has none), got {answer.weight}"
        wanted, wanted_tree = jax.tree_util.tree_flatten_with_path(self.template)
        leaves, tree = jax.tree.flatten(answer.message)
        if tree != wanted_tree:
            return f"message: wanted the structure {wanted_tree}, got {tree}"
        size = sum(int(getattr(leaf, "nbytes", 0)) for leaf in leaves)
        if size > self.limit:
            return f"message: wanted at most {self.limit} bytes, got {size}"
        for (path, like), leaf in zip(wanted, leaves, strict=True):
            reason = _leaf_mistake(jax.tree_util.keystr(path), like, leaf)
            if reason:
                return reason
        return None


def _leaf_mistake(path: str, like: Any, leaf: Any) -> str | None:
    if not isinstance(leaf, np.ndarray | jax.Array):
        return f"message{path}: wanted an array, got {type(leaf).__name__}"
    if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
        return f"message{path}: wanted {like.dtype}{list(like.shape)}, got {leaf.dtype}{list(leaf.shape)}"
    bad = int(np.sum(~np.isfinite(np.asarray(leaf))))
    return f"message{path}: wanted finite numbers, got {bad} that are not" if bad else None

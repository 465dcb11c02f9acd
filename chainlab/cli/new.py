"""`chainlab new`: an experiment of one's own that runs at once."""

import keyword
from pathlib import Path

import click

from chainlab.cli.common import out, talk, verb
from chainlab.errors import UsageError

_MODULE = '''\
"""__NAME__: handwritten digits, classified by a small network.

`chainlab run __NAME__.yaml` trains it. Every key of __NAME__.yaml beside `experiment`, `seed`, `run` and
`expect` is a field of the config class below.
"""

from typing import Annotated

import chainlab
from annotated_types import Gt
from chainlab.optim import OptimizerConfig


@chainlab.config
class __CLASS__Config:
    """What __NAME__ can be told; the string under a field is its help (`chainlab config ./__NAME__.py`)."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (64,)
    """Features of each hidden layer."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=3e-3)
    """Any optimiser of optax, by its name and with its own arguments."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Examples in a batch."""


@chainlab.experiment
def __NAME__(config: __CLASS__Config) -> "chainlab.Task":
    """Classify handwritten digits with a multilayer perceptron."""
    import jax.numpy as jnp  # here rather than above: `chainlab validate` reads the config without JAX
    import optax
    from chainlab import data, lab, nn, optim

    digits = data.load("digits").flat()
    model = nn.mlp([*digits.features, *config.hidden, len(digits.classes)])

    def objective(params, batch, key):
        """What is differentiated: a scalar, and metrics to record at each step."""
        logits = model.apply(params, batch["x"], key=key)
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()
        return loss, {"accuracy": (logits.argmax(-1) == batch["y"]).mean(dtype=jnp.float32)}

    def evaluate(params, split):
        """Metrics of a whole evaluation split."""
        logits = model.apply(params, split["x"])
        return {"accuracy": (logits.argmax(-1) == split["y"]).mean(dtype=jnp.float32)}

    return lab.supervised(
        model, objective, optim.build(config.optimizer), digits.batches(config.batch_size), evaluate=evaluate
    )
'''

_CONFIG = """\
# chainlab run __NAME__.yaml                                  trains this
# chainlab run __NAME__.yaml optimizer.learning_rate=1e-2     with another value
# chainlab verify __NAME__.yaml                               checks the claim
experiment: ./__NAME__.py

hidden: [64]
optimizer:
  name: adam
  learning_rate: 3e-3
batch_size: 64

seed: 0
run:
  steps: 600
  log_every: 100
  eval_every: 200
  monitor: validation/accuracy

expect:
- metric: test/accuracy
  at_least: 0.95
"""


@verb("chainlab new mine && chainlab run mine.yaml")
@click.argument("name")
def command(name: str) -> None:
    """Write NAME.py, an experiment, and NAME.yaml, its config, which run at once; change them from there."""
    stem = Path(name)
    if not stem.name.isidentifier() or keyword.iskeyword(stem.name):
        plain = "".join(letter if letter.isalnum() else "_" for letter in stem.name)
        hint = f", such as {plain!r}" if plain.isidentifier() and not keyword.iskeyword(plain) else ""
        raise UsageError(f"{stem.name!r} cannot name a Python function: wanted letters, digits and underscores{hint}")
    module, config = stem.with_name(f"{stem.name}.py"), stem.with_name(f"{stem.name}.yaml")
    there = [str(path) for path in (module, config) if path.exists()]
    if there:
        raise UsageError(f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already; nothing was written")
    if not stem.parent.is_dir():
        raise UsageError(f"no folder {stem.parent} to write into")
    title = "".join(part[:1].upper() + part[1:] for part in stem.name.split("_"))
    for path, template in ((module, _MODULE), (config, _CONFIG)):
        with path.open("x") as stream:
            stream.write(template.replace("__NAME__", stem.name).replace("__CLASS__", title))
    out(f"{module}\n{config}")
    talk(f"next: chainlab run {config}")

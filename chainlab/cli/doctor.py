"""`chainlab doctor`: what this installation is and what it can reach."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

from chainlab.cli.common import console, json_option, out, verb
from chainlab.errors import MissingDataError

_OPTIONAL = (
    *("tensorboardX", "mlflow", "wandb", "pandas", "pyarrow", "pillow", "tokenizers", "nir", "h5py", "tonic"),
    *("jax-privacy", "dp-accounting", "orbax-checkpoint", "optuna", "submitit", "distributed", "flwr", "cryptography"),
)
"""What the extras bring."""


@verb("chainlab doctor", "chainlab doctor --json")
@json_option
def command(as_json: bool) -> None:
    """Show versions, devices, caches, and where each data set would be read from."""
    sections = _examine()
    if as_json:
        out(sections, as_json=True)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for section, rows in sections.items():
        table.add_row(Text(section, style="bold"))
        for name, value in rows.items():
            table.add_row(f"  {name}", Text(str(value)))
    console().print(table)


def _examine() -> dict[str, dict[str, Any]]:
    import chainlab
    from chainlab.lab.cache import cache_folder
    from chainlab.lab.config.locate import folder, names
    from chainlab.lab.record import provenance

    found = provenance()
    cache = cache_folder()
    return {
        "versions": {"chainlab": chainlab.__version__, **found["versions"]},
        "optional libraries": {name: _version(name) for name in _OPTIONAL},
        "machine": {
            "interpreter": sys.executable,
            "platform": found["platform"],
            "backend": found["backend"],
            "devices": ", ".join(found["devices"]),
            "cores": found["cores"],
            "XLA_FLAGS": found["xla_flags"] or "not set",
        },
        "places": {
            "compile cache": f"{cache} ({_size(cache)})",
            "packaged configs": f"{folder()} ({len(names())})",
            "CHAINLAB_DATA": os.environ.get("CHAINLAB_DATA", "not set"),
        },
        "data": _data(),
    }


def _data() -> dict[str, str]:
    from chainlab.data.idx import MNIST_NAMES, find_mnist
    from chainlab.data.tabular import BUNDLED_NAMES

    rows = dict.fromkeys(BUNDLED_NAMES, "bundled with scikit-learn")
    for name in MNIST_NAMES:
        try:
            rows[name] = str(find_mnist(name)[0].parent)
        except MissingDataError as error:
            rows[name] = "missing: " + str(error).rpartition("To get it: ")[2]
    return rows


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _size(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB" if sizes else "empty"

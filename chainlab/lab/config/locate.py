"""Where a config that was named on the command line lies."""

import difflib
import functools
import importlib
from pathlib import Path

from chainlab.errors import ConfigError

_SUFFIXES = (".yaml", ".yml")


@functools.cache
def folder() -> Path:
    """The folder of the packaged configs."""
    origin = importlib.import_module("chainlab.experiments").__file__
    assert origin is not None
    return Path(origin).parents[1] / "configs"


def names() -> list[str]:
    """The packaged configs, as `find` takes them."""
    found = (path.relative_to(folder()).with_suffix("") for path in folder().rglob("*.yaml"))
    return sorted(path.as_posix() for path in found if not path.parts[0].startswith("_"))


def packaged(name: str) -> Path | None:
    """The packaged config of a name, with or without its suffix and a leading `configs/`."""
    inner = name.removeprefix("configs/")
    if not inner or Path(inner).is_absolute() or ".." in Path(inner).parts:
        return None
    candidates = (folder() / (inner + suffix) for suffix in ("", *_SUFFIXES))
    return next((path for path in candidates if path.is_file()), None)


def find(config: str | Path) -> Path:
    """Find a config: a file, or the packaged one of that name.

    Args:
        config: A path as seen from the current folder, with or without `.yaml`, or the name of a packaged
            config: `mlp/digits`, `mlp/digits.yaml` and `configs/mlp/digits.yaml` are the same.

    Returns:
        The file.

    Raises:
        ConfigError: There is neither.
    """
    given = Path(config)
    if given.is_file():
        return given
    if (added := given.with_name(given.name + ".yaml")).is_file():
        return added
    if (path := packaged(given.as_posix())) is not None:
        return path
    known = names()
    wanted = given.as_posix().removeprefix("configs/").removesuffix(".yaml")
    inside = [name for name in known if name.startswith(wanted + "/")]
    close = inside or difflib.get_close_matches(wanted, known, 3, 0.6)
    if close:
        hint = "did you mean " + ", ".join(close[:8]) + "?"
    else:
        hint = "packaged configs: " + (", ".join(known[:20]) or "none") + (", ..." if len(known) > 20 else "")
    raise ConfigError([f"{given}: no such file and no packaged config of that name; {hint}"])

"""Five experiments, repeated to the last bit in a second process and in a second clone; a planted change is named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = {  # the shortest runs that still go through every part of the step
    "mlp/digits": ["model.hidden=[16]"],
    "spiking/digits": ["encoder.steps=5", "model.hidden=[16]"],
    "federated/digits": ["sampling.size=4"],
    "deep/smoke": ["chain.depth=20", "chain.width=16"],
    "gan/ring8": ["networks={frequencies: 4, highest: 8.0, generator: [16], critic: [16]}"],
}
TRAIN = """
import json, sys
from pathlib import Path
from chainlab.lab.config import load
from chainlab.lab.run import start
for name, overrides in json.loads(sys.argv[1]).items():
    short = ["seeds=1", "run={steps: 4, log_every: 2}", "expect=[]", *overrides]
    start(load(name, short), root=Path("runs"), quiet=True)
"""
REPEAT = """
import dataclasses, json, sys
from pathlib import Path
from chainlab.lab.reproduce import reproduce
found = {file.parent.parent.name: dataclasses.asdict(reproduce(file.parent, quiet=True))
         for file in Path("runs").glob("*/*/run.json")}
print(json.dumps(found))
"""


def python(code, *arguments, root, folder):
    """Run code with the chainlab of a checkout."""
    own = {"PYTHONPATH": str(root), "CHAINLAB_CACHE": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env={**os.environ, **own}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_experiments_repeat_to_the_last_bit(tmp_path):
    clone = tmp_path / "clone"
    cloned = subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)], capture_output=True)
    if cloned.returncode:
        pytest.skip("this checkout is no git repository")
    python(TRAIN, json.dumps(RUNS), root=ROOT, folder=tmp_path)
    for root in (ROOT, clone):
        found = json.loads(python(REPEAT, root=root, folder=tmp_path))
        assert len(found) == 5
        assert {name: each["first"] for name, each in found.items() if not each["identical"]} == {}
        assert min(each["compared"] for each in found.values()) >= 5

    for folder in tmp_path.glob("runs/*"):
        if folder.name != "mlp":
            folder.rename(tmp_path / folder.name)
    module = clone / "chainlab" / "lab" / "supervised.py"
    text = module.read_text()
    planted = "updates, inner = optimizer.update("
    assert planted in text
    change = "gradients = __import__('jax').tree.map(lambda leaf: leaf * 1.0000002, gradients)"
    module.write_text(text.replace(planted, f"{change}\n        {planted}"))
    found = json.loads(python(REPEAT, root=clone, folder=tmp_path))["mlp"]
    assert not found["identical"]
    assert re.match(r"step 1 \(from the start\): state\.(params|optimizer)", found["first"]), found["first"]

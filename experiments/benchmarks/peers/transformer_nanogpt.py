import math
import os
import sys
from contextlib import redirect_stdout

import numpy as np
import torch
from worker import serve


def nanogpt():
    """nanoGPT's model.py, unmodified, from the folder `$CHAINLAB_NANOGPT`."""
    folder = os.environ.get("CHAINLAB_NANOGPT")
    if not folder or not os.path.isfile(os.path.join(folder, "model.py")):
        raise FileNotFoundError("CHAINLAB_NANOGPT must name a checkout of github.com/karpathy/nanoGPT")
    sys.path.insert(0, folder)
    import model

    return model


def rate(step, case):
    """Linear warm-up over 100 steps, then a cosine to a tenth."""
    if step < 100:
        return 1e-3 * (step + 1) / 101
    ratio = (step - 100) / (case.get("steps", 2000) - 100)
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * ratio)) * 9e-4


def prepare(case):
    """Train as nanoGPT's train.py does; with `steps` to the end, else a few steps that are timed."""
    library = nanogpt()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(case.get("seed", 1337))
    mode = os.environ.get("CHAINLAB_TORCH", "eager")
    block, batch = case["context"], case["batch"]
    with redirect_stdout(sys.stderr):
        config = library.GPTConfig(
            block, case["vocabulary"], case["layers"], case["heads"], case["dim"], dropout=0.0, bias=False
        )
        model = library.GPT(config)
        if "weights" in case:
            weights = np.load(case["weights"])
            model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    if mode == "compile+fused":
        optimizer = torch.optim.AdamW(optimizer.param_groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    network = model if mode == "eager" else torch.compile(model)
    text = np.load(case["tokens"]).astype(np.uint16)
    count = [0]

    def step(starts):
        x = torch.stack([torch.from_numpy(text[i : i + block].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(text[i + 1 : i + 1 + block].astype(np.int64)) for i in starts])
        for group in optimizer.param_groups:
            group["lr"] = rate(count[0], case)
        _, loss = network(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        count[0] += 1
        return loss

    def random_step():
        return step(torch.randint(len(text) - block, (batch,)).tolist())

    def timed():
        for _ in range(case["dispatch"]):
            random_step()

    if "steps" in case:
        for _ in range(case["steps"]):
            random_step()
        held = np.load(case["evaluation"])
        model.eval()
        with torch.no_grad():
            losses = [
                model(torch.from_numpy(x.astype(np.int64)), torch.from_numpy(y.astype(np.int64)))[1].item()
                for x, y in zip(held["x"], held["y"], strict=True)
            ]
        return timed, losses
    return timed, [step(starts).item() for starts in case["starts"]]


serve(prepare)

import os
import sys
from contextlib import redirect_stdout

import numpy as np
import torch
from worker import serve


def prepare(case):
    """nanoGPT's model.py, unmodified, from the folder `$CHAINLAB_NANOGPT`, trained as its train.py does."""
    folder = os.environ.get("CHAINLAB_NANOGPT")
    if not folder or not os.path.isfile(os.path.join(folder, "model.py")):
        raise FileNotFoundError("CHAINLAB_NANOGPT must name a checkout of github.com/karpathy/nanoGPT")
    sys.path.insert(0, folder)
    from model import GPT, GPTConfig

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    mode = os.environ.get("CHAINLAB_TORCH", "eager")
    weights = np.load(case["weights"])
    size, dim = weights["transformer.wte.weight"].shape
    block, batch = case["context"], case["batch"]
    with redirect_stdout(sys.stderr):
        config = GPTConfig(block, size, case["layers"], case["heads"], dim, dropout=0.0, bias=False)
        model = GPT(config)
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
            group["lr"] = 1e-3 * min(1.0, (count[0] + 1) / 101)
        _, loss = network(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        count[0] += 1
        return loss

    losses = [step(starts).item() for starts in case["starts"]]

    def timed():
        for _ in range(case["dispatch"]):
            step(torch.randint(len(text) - block, (batch,)).tolist())

    return timed, losses


serve(prepare)

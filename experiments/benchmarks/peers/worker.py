"""The timed side of a benchmark: answers requests on standard input, one JSON line each.

Standard library only, since every peer runs it in an environment of its own. A peer's file ends in
`serve(prepare)`, where `prepare(case)` compiles and warms up one case and returns `(step, outputs)`: `step()`
does the timed work once and waits for it; `outputs` is a JSON value that the harness compares across peers
before anything is timed.
"""

import json
import os
import resource
import sys
import time
import traceback


def serve(prepare):
    """Answer `{"do": "prepare", "case": {...}}` and `{"do": "time", "repeat": n}` until the input ends."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the peer prints must not mix with the answers
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                began = time.perf_counter()
                step, outputs = prepare(request["case"])
                answer = {"outputs": outputs, "prepare_seconds": time.perf_counter() - began}
            else:
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(request["repeat"]):
                    step()
                answer = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        except Exception:
            answer = {"error": traceback.format_exc()}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

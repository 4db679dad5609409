"""The process peers run in: reads JSON lines, runs what they ask for, answers with JSON lines.

First `{"module", "threads", "settings"}`, answered with the names of the contestants; then any
number of `{"run": name, "times": n}`, answered with seconds and what each call told as a dict. It
imports nothing of jaxreason, so any environment with torch will do. Whatever the peers print goes
to standard error.
"""

import ctypes
import importlib
import json
import os
import sys
import time
import traceback


def keep_freed_memory() -> None:
    """What the training command asks of malloc, for peers too; see `training.allocator`."""
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            settings = ((-8, 1), (-3, 2**31 - 1), (-1, 2**31 - 1), (-2, 64 * 2**20))
            for name, value in settings:
                mallopt(ctypes.c_int(name), ctypes.c_int(value))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    keep_freed_memory()
    contestants = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "module" in request:
                import torch

                torch.set_num_threads(request["threads"])
                settings = {**request["settings"], "facts": {}}
                contestants = importlib.import_module(request["module"]).contestants(settings)
                answer = {"names": list(contestants), "facts": settings["facts"]}
            else:
                work = contestants[request["run"]]
                start = time.perf_counter()
                told = [work() for _ in range(request["times"])]
                answer = {"seconds": time.perf_counter() - start}
                if all(isinstance(item, dict) for item in told):
                    answer["told"] = told
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()

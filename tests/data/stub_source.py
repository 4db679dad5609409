"""Examples whose tokens say where they come from: token k of example i is 100 * i + k."""

import numpy as np


class StubSource:
    """`sizes[i]` tokens for example i, a prompt of `prompts[i]` tokens."""

    def __init__(self, sizes, prompts=None):
        self.sizes = list(sizes)
        self.prompts = [1] * len(self.sizes) if prompts is None else list(prompts)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        index = int(index)
        tokens = np.arange(self.sizes[index], dtype=np.int32) + 100 * index
        return {"tokens": tokens, "prompt_length": self.prompts[index], "index": index}

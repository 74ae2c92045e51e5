"""What a model says of given tokens, one by one: nats, bytes, and whether the token was the likeliest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Scored:
    """The tokens of a window but its first, in order."""

    nats_T: np.ndarray  # float64, -ln p
    bytes_T: np.ndarray  # int64, UTF-8 bytes that each stands for
    likeliest_T: np.ndarray  # bool

    @property
    def bits(self) -> float:
        return float(self.nats_T.sum() / np.log(2))


@torch.inference_mode()
def score(model: nn.Module, windows: Sequence[np.ndarray], sizes: np.ndarray, *, batch_size: int = 16) -> list[Scored]:
    """Each window read from its first token, which is not scored, in the order given.

    windows: int64 token ids, 2 to max_seq_len + 1 each. sizes: `bits.token_bytes` of the tokenizer. Windows of similar
    length are read together; what stands beside one moves its figures by float rounding alone.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(windows)), key=lambda i: (len(windows[i]), i))
    found: dict[int, Scored] = {}
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        ids = np.zeros((len(batch), len(windows[batch[-1]])), dtype=np.int64)
        for row, index in enumerate(batch):
            ids[row, : len(windows[index])] = windows[index]
        inputs = torch.from_numpy(ids).to(device)
        logprobs_BTV = model(inputs[:, :-1]).float().log_softmax(-1)
        nats_BT = -logprobs_BTV.gather(-1, inputs[:, 1:, None])[..., 0].double().cpu().numpy()
        likeliest_BT = logprobs_BTV.argmax(-1).cpu().numpy() == ids[:, 1:]
        for row, index in enumerate(batch):
            n = len(windows[index]) - 1
            found[index] = Scored(nats_BT[row, :n], sizes[ids[row, 1 : n + 1]], likeliest_BT[row, :n])
    return [found[index] for index in range(len(windows))]

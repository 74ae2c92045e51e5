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
    length are read together, those that differ in their last token alone as one; what stands beside one moves its
    figures by float rounding alone.
    """
    device = next(model.parameters()).device
    same: dict[bytes, list[int]] = {}  # windows by what is read of them
    for index, window in enumerate(windows):
        same.setdefault(window[:-1].tobytes(), []).append(index)
    order = sorted(same.values(), key=lambda indices: (len(windows[indices[0]]), indices[0]))
    found: dict[int, Scored] = {}
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        indices = [index for group in batch for index in group]
        rows = [row for row, group in enumerate(batch) for _ in group]
        ids = np.zeros((len(indices), len(windows[indices[-1]])), dtype=np.int64)
        for place, index in enumerate(indices):
            ids[place, : len(windows[index])] = windows[index]
        inputs = ids[[rows.index(row) for row in range(len(batch))], :-1]
        logprobs_BTV = model(torch.from_numpy(inputs).to(device)).float().log_softmax(-1)
        likeliest_BT = logprobs_BTV.argmax(-1).cpu().numpy()
        targets = torch.from_numpy(ids[:, 1:]).to(device)
        columns = torch.arange(targets.shape[1], device=device)
        nats_NT = -logprobs_BTV[torch.tensor(rows, device=device)[:, None], columns, targets].double().cpu().numpy()
        for place, (row, index) in enumerate(zip(rows, indices, strict=True)):
            n = len(windows[index]) - 1
            predicted = ids[place, 1 : n + 1]
            found[index] = Scored(nats_NT[place, :n], sizes[predicted], likeliest_BT[row, :n] == predicted)
    return [found[index] for index in range(len(windows))]

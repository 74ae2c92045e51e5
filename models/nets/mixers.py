"""Mixers other than attention: Mamba, LSTM, and a window's concatenation. Each reads only what came before.

All are called as mixer(x_BTD, age_BT, cache, layer). age_BT is how many tokens of its own document a token has before
it, negative on padding: nothing is carried over to a token of age 0. What decoding needs lies in cache.states.
D width, E channels of a Mamba mixer, N numbers of state a channel, J taps.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.device.scan import selective_scan
from models.architecture import TransformerConfig
from models.nets.transformer import KVCache

STEP_SIZES = (1e-3, 1e-1)  # of Mamba at the start, spread evenly in the logarithm over the channels


class Mamba(nn.Module):
    """The selective state space of Mamba (arXiv 2312.00752): decays and inputs of the state depend on the token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner, self.state, self.rank, self.taps = config.inner, config.d_state, config.dt_rank, config.d_conv
        self.input = nn.Linear(config.d_model, 2 * self.inner, bias=False)
        self.choice = nn.Linear(self.inner, self.rank + 2 * self.state, bias=False)
        self.steps = nn.Linear(self.rank, self.inner)
        self.out = nn.Linear(self.inner, config.d_model, bias=False)
        # flat, for these are no matrices: optimizers neither let them decay nor make them orthogonal
        self.convolution = nn.Parameter(torch.full((self.inner * self.taps,), self.taps**-1))
        self.convolution_bias = nn.Parameter(torch.zeros(self.inner))
        self.decay = nn.Parameter(torch.arange(1, self.state + 1).float().log().repeat(self.inner))
        self.through = nn.Parameter(torch.ones(self.inner))
        sizes = torch.linspace(math.log(STEP_SIZES[0]), math.log(STEP_SIZES[1]), self.inner).exp()
        with torch.no_grad():
            self.steps.bias.copy_(sizes + (-(-sizes).expm1()).log())  # softplus of it is the size

    def forward(self, x_BTD: Tensor, age_BT: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x_BTE, gate_BTE = self.input(x_BTD).chunk(2, -1)
        past, state_BEN = cache.states.get(layer, (None, None)) if cache is not None else (None, None)
        tapped, past = taps(x_BTE, age_BT, self.taps, past)
        kernel_EJ = self.convolution.view(self.inner, self.taps)
        x_BTE = F.silu(sum((tapped[j] * kernel_EJ[:, j] for j in range(self.taps)), start=self.convolution_bias))
        chosen = self.choice(x_BTE).split([self.rank, self.state, self.state], -1)
        step_BTE, write_BTN, read_BTN = F.softplus(self.steps(chosen[0])).float(), chosen[1].float(), chosen[2].float()
        if state_BEN is None:
            state_BEN = step_BTE.new_zeros(len(x_BTE), self.inner, self.state)
        decay_EN = self.decay.view(self.inner, self.state)
        given = x_BTE.float(), step_BTE, write_BTN, read_BTN, decay_EN, age_BT > 0, state_BEN
        y_BTE, state_BEN = selective_scan(*given)  # float32, as in the source
        if cache is not None:
            cache.states[layer] = past, state_BEN
        y_BTE = y_BTE.to(gate_BTE.dtype) + self.through * x_BTE
        return self.out(y_BTE * F.silu(gate_BTE))


class LSTM(nn.Module):
    """One layer of torch's LSTM, run from each start of a document to the next."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)
        with torch.no_grad():
            biases = dict(self.lstm.named_parameters())
            for name in ("bias_ih_l0", "bias_hh_l0"):
                biases[name].zero_()
            biases["bias_ih_l0"][config.d_model : 2 * config.d_model] = 1.0  # it remembers at first (Jozefowicz 2015)

    def forward(self, x_BTD: Tensor, age_BT: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        rows, tokens, width = x_BTD.shape
        h, c = cache.states.get(layer, (None, None)) if cache is not None else (None, None)
        if h is None or c is None:
            h, c = (x_BTD.new_zeros(rows, width) for _ in range(2))
        fresh_BT = age_BT == 0
        starts = [0, *(fresh_BT[:, 1:].any(0).nonzero()[:, 0] + 1).tolist(), tokens]
        pieces = []
        for begin, end in pairwise(starts):
            goes_on_B1 = ~fresh_BT[:, begin, None]
            y, (h, c) = self.lstm(x_BTD[:, begin:end], ((h * goes_on_B1)[None], (c * goes_on_B1)[None]))
            h, c = h[0], c[0]
            pieces.append(y)
        if cache is not None:
            cache.states[layer] = h, c
        return torch.cat(pieces, 1)


class Window(nn.Module):
    """A product with the concatenation of the last tokens, as in Bengio et al. 2003; what is before them is unseen."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.taps = config.window
        self.join = nn.Linear(config.window * config.d_model, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor, age_BT: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        past = cache.states.get(layer, (None,))[0] if cache is not None else None
        tapped, past = taps(x_BTD, age_BT, self.taps, past)
        if cache is not None:
            cache.states[layer] = (past,)
        return self.join(torch.cat(tapped, -1))


def taps(x: Tensor, age_BT: Tensor, count: int, past: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """x as it was 0, 1, … count - 1 tokens ago, zero where that is another document or none; and the next call's past.

    past: the last count - 1 tokens before x (None: there are none).
    """
    if past is None:
        past = x.new_zeros(len(x), count - 1, x.shape[-1])
    whole, tokens = torch.cat([past, x], 1), x.shape[1]
    found = [
        whole[:, count - 1 - j : count - 1 - j + tokens] * (age_BT >= j)[..., None].to(x.dtype) for j in range(count)
    ]
    return found, whole[:, tokens:]

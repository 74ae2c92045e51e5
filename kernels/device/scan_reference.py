"""The selective scan of Mamba (arXiv 2312.00752), the plain way: token by token, in the dtype that it is given."""

import torch
from torch import Tensor


def scan(a: Tensor, u: Tensor) -> Tensor:
    """h (B, T, …) of decays a and inputs u of that shape: h_t = a_t h_{t-1} + u_t, h_{-1} = 0."""
    h, found = torch.zeros_like(u[:, 0]), []
    for t in range(u.shape[1]):
        h = a[:, t] * h + u[:, t]
        found.append(h)
    return torch.stack(found, 1)


def selective_scan(
    x_BTE: Tensor,
    step_BTE: Tensor,
    write_BTN: Tensor,
    read_BTN: Tensor,
    decay_EN: Tensor,
    goes_on_BT: Tensor,
    before_BEN: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the states say (B, T, E), and the last of them (B, E, N); arguments as in kernels/device/scan.py."""
    h_BEN, rate_EN, said = before_BEN, -decay_EN.exp(), []
    for t in range(x_BTE.shape[1]):
        a_BEN = (step_BTE[:, t, :, None] * rate_EN).exp() * goes_on_BT[:, t, None, None]
        h_BEN = a_BEN * h_BEN + (step_BTE[:, t] * x_BTE[:, t])[..., None] * write_BTN[:, t, None]
        said.append((h_BEN * read_BTN[:, t, None]).sum(-1))
    return torch.stack(said, 1), h_BEN

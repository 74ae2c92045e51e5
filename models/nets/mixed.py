"""Nets whose blocks mix tokens in other ways than attention alone: `mamba`, `hybrid`, `lstm`, `mlp`.

Same embedding, residual stream, feed-forward part and head as the transformer, same calls; `build` makes any net.
"""

import torch
from torch import Tensor, nn

from models.architecture import FULL, LSTM, MAMBA, NONE, SLIDING, WINDOW, TransformerConfig
from models.frozen import InputError
from models.nets import mixers
from models.nets.transformer import KVCache, RMSNorm, Transformer, feed_forward

MIXERS = {MAMBA: mixers.Mamba, LSTM: mixers.LSTM, WINDOW: mixers.Window}


def build(config: TransformerConfig, seed: int = 0) -> Transformer:
    """The net that a configuration describes, with the initial weights of this seed."""
    return Transformer(config, seed) if config.net == "transformer" else MixedNet(config, seed)


class MixedBlock(nn.Module):
    """One pre-norm layer: a mixer, then the feed-forward part, each added to the residual stream; either may lack."""

    def __init__(self, config: TransformerConfig, kind: str) -> None:
        super().__init__()
        if kind != NONE:
            self.mixer_norm = RMSNorm(config.d_model, config.norm_eps)
            self.mixer = MIXERS[kind](config)
        if config.d_ff:
            self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
            self.mlp = feed_forward(config)
        self.mixes, self.feeds = kind != NONE, config.d_ff > 0

    def forward(self, x: Tensor, age_BT: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        if self.mixes:
            x = x + self.mixer(self.mixer_norm(x), age_BT, cache, layer)
        return x + self.mlp(self.mlp_norm(x)) if self.feeds else x


class MixedNet(Transformer):
    """A transformer some or all of whose layers are others; it takes segments and caches, and no branches."""

    def block(self, kind: str) -> nn.Module:
        """A layer of this kind."""
        return super().block(kind) if kind in (FULL, SLIDING) else MixedBlock(self.config, kind)

    def spread(self, name: str) -> float:
        """As in a transformer, but for what its source says: LSTM by the width, Mamba's step sizes by their rank."""
        if ".lstm." in name:
            return self.config.d_model**-0.5
        return self.config.dt_rank**-0.5 if name.endswith("mixer.steps.weight") else super().spread(name)

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        segment_ids_BT: Tensor | None = None,
        branches_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """As a transformer's. InputError for branches: a state is carried from token to token, it does not fork."""
        if branches_BT is not None:
            raise InputError(f"a {self.config.net} cannot read branches of one prefix: give each row by itself")
        tokens = ids_BT.shape[1]
        rotary, mask = self.places(tokens, segment_ids_BT, cache)
        masks = {FULL: mask}
        if SLIDING in self.config.kinds:
            masks[SLIDING] = self._near(mask, tokens, cache, False)
        age_BT = ages(ids_BT, segment_ids_BT, cache)
        x_BTD = first_BTD = self._embedded(ids_BT)
        for layer, (kind, block) in enumerate(zip(self.config.kinds, self.blocks, strict=True)):
            if self.config.residual_weights:
                x_BTD = self.kept[layer] * x_BTD + self.recalled[layer] * first_BTD
            if kind in masks:
                x_BTD = block(x_BTD, rotary, masks[kind], cache, layer)
            else:
                x_BTD = block(x_BTD, age_BT, cache, layer)
        if cache is not None:
            cache.length += tokens
        return self.norm(x_BTD)


def ages(ids_BT: Tensor, segment_ids_BT: Tensor | None, cache: KVCache | None) -> Tensor:
    """How many tokens of its own document (segment, or row of the cache) a token has before it; negative on padding."""
    rows, tokens = ids_BT.shape
    places_T = torch.arange(tokens, device=ids_BT.device)
    if cache is not None:
        return places_T + cache.length - cache.starts_B[:, None]
    if segment_ids_BT is None:
        return places_T.expand(rows, -1)
    begins_BT = torch.ones_like(segment_ids_BT, dtype=torch.bool)
    begins_BT[:, 1:] = segment_ids_BT[:, 1:] != segment_ids_BT[:, :-1]
    return places_T - torch.where(begins_BT, places_T, 0).cummax(1).values

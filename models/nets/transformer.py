"""The transformer: Qwen3's arithmetic (pre-norm, QK-norm before rotary positions, SwiGLU, grouped heads), and options.

With none (`plain`) weights export to Qwen3ForCausalLM without change of numbers: fused projections split by rows
(models/export/huggingface.py). With them (`fast`) they are the speedrun's: squared ReLU (arXiv 2109.08668), capped
logits (Gemma 2, arXiv 2408.00118), tables that values read from and weighted residuals (modded-nanogpt), windows.

Tensor names carry their shape: B rows, T new tokens, S cached slots, H heads, D width, K head width, V vocabulary.
Source of the layout: the Qwen3 technical report (arXiv 2505.09388).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import FULL, SLIDING, TransformerConfig
from models.frozen import InputError


class KVCache:
    """Keys and values of the tokens seen so far, in buffers of fixed size; rows are right-aligned.

    keys, values: one (B, H_kv, capacity, K) tensor per layer. `length` slots are filled in every row; row b's real
    tokens begin at slot starts_B[b] (its left padding ends there). states: what a layer without keys keeps of the
    tokens, by layer: tensors whose first dimension is B.
    """

    def __init__(self, config: TransformerConfig, starts_B: Tensor, capacity: int, dtype: torch.dtype) -> None:
        slots = [capacity if kind in (FULL, SLIDING) else 0 for kind in config.kinds]
        shapes = [(starts_B.shape[0], config.n_kv_heads, held, config.head_dim) for held in slots]
        self.keys = [torch.zeros(shape, dtype=dtype, device=starts_B.device) for shape in shapes]
        self.values = [torch.zeros(shape, dtype=dtype, device=starts_B.device) for shape in shapes]
        self.states: dict[int, tuple[Tensor, ...]] = {}
        self.starts_B = starts_B
        self.capacity = capacity
        self.length = 0

    def keep(self, rows: Tensor) -> None:
        """Make the cache consist of these rows, in this order; an index may be left out or come several times."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.states = {layer: tuple(one[rows] for one in held) for layer, held in self.states.items()}
        self.starts_B = self.starts_B[rows]


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as x."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention with grouped key and value heads; q, k, v in one projection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.qkv = nn.Linear(config.d_model, (config.n_heads + 2 * config.n_kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)
        self.q_norm, self.k_norm = (
            RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity() for _ in range(2)
        )

    def forward(
        self,
        x_BTD: Tensor,
        rotary: Tensor,
        mask: Tensor | None,
        cache: KVCache | None,
        layer: int,
        more_BTHK: Tensor | None = None,
    ) -> Tensor:
        """rotary: (2, …, T, 1, K) cosines and sines; mask: boolean, True where attended, or None for plain causal;
        more_BTHK: what is added to the values."""
        rows, tokens, _ = x_BTD.shape
        heads = self.qkv(x_BTD).view(rows, tokens, -1, self.head_dim)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=2)
        q = rotate(self.q_norm(q), rotary).transpose(1, 2)
        k = rotate(self.k_norm(k), rotary).transpose(1, 2)
        v = (v if more_BTHK is None else v + more_BTHK.to(v.dtype)).transpose(1, 2)
        if cache is not None:
            end = cache.length + tokens
            cache.keys[layer][:, :, cache.length : end] = k
            cache.values[layer][:, :, cache.length : end] = v
            k, v = cache.keys[layer][:, :, :end], cache.values[layer][:, :, :end]
        grouped = self.n_kv_heads != self.n_heads
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).reshape(rows, tokens, -1))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)); gate and up in one projection, gate first."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class SquaredReLU(nn.Module):
    """down(relu(up(x))^2)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """One pre-norm layer: attention, then the feed-forward part, each added to the residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = feed_forward(config)

    def forward(
        self,
        x: Tensor,
        rotary: Tensor,
        mask: Tensor | None,
        cache: KVCache | None,
        layer: int,
        more_BTHK: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = x + self.attention(self.attention_norm(x), rotary, mask, cache, layer, more_BTHK)
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    """The whole model. `seed` fixes the initial weights: normal(0, 0.02), projections into the residual stream
    scaled by 1/sqrt(2 n_layers), norms at 1. Optimizers tell weights apart by their shape and name: matrices have two
    dimensions and nothing else has, and lookup tables are called `embedding…`."""

    rotary: Tensor

    def __init__(self, config: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(self.block(kind) for kind in config.kinds)
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.value_tables:
            width = config.n_kv_heads * config.head_dim
            self.embedding_values = nn.ModuleList(
                nn.Embedding(config.vocab_size, width) for _ in range(config.value_tables)
            )
            self.value_weights = nn.Parameter(torch.ones(len(config.table_of)))
        if config.residual_weights:
            self.kept = nn.Parameter(torch.ones(config.n_layers))
            self.recalled = nn.Parameter(torch.full((config.n_layers,), 0.1))
        self.register_buffer("rotary", rotary_table(config), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=self.spread(name), generator=generator)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight

    def block(self, kind: str) -> nn.Module:
        """A layer of this kind."""
        return Block(self.config)

    def spread(self, name: str) -> float:
        """Standard deviation of a matrix's initial weights."""
        into_residual = name.endswith(("out.weight", "down.weight"))
        return 0.02 / (2 * self.config.n_layers) ** 0.5 if into_residual else 0.02

    def forward(self, ids_BT: Tensor, *, segment_ids_BT: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Logits (B, T, V), float32.

        segment_ids_BT: documents packed in a row; a token attends only within its own segment. cache: continue after
        the tokens it holds (and append to it); not with segments. InputError beyond max_seq_len.
        """
        return self.logits(self.hidden(ids_BT, segment_ids_BT=segment_ids_BT, cache=cache))

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        segment_ids_BT: Tensor | None = None,
        branches_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The last hidden states (B, T, D), after the final norm; arguments as in `forward`.

        branches_BT: several continuations of one prefix in a row. 0 marks the prefix, 1, 2, … its continuations, -1
        padding; each sees the prefix and itself, and gets the states it would get alone. Not with segments or a cache.
        """
        tokens = ids_BT.shape[1]
        if branches_BT is not None:
            rotary, mask = self._branch(branches_BT)
        else:
            rotary, mask = self.places(tokens, segment_ids_BT, cache)
        masks = {FULL: mask}
        if SLIDING in self.config.kinds:
            masks[SLIDING] = self._near(mask, tokens, cache, branches_BT is not None)
        x_BTD = first_BTD = self._embedded(ids_BT)
        for layer, (kind, block) in enumerate(zip(self.config.kinds, self.blocks, strict=True)):
            if self.config.residual_weights:
                x_BTD = self.kept[layer] * x_BTD + self.recalled[layer] * first_BTD
            x_BTD = block(x_BTD, rotary, masks[kind], cache, layer, self._more(layer, ids_BT))
        if cache is not None:
            cache.length += tokens
        return self.norm(x_BTD)

    def places(self, tokens: int, segment_ids_BT: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Tensor | None]:
        """Rotary entries and mask of rows of tokens. InputError beyond max_seq_len or the cache's capacity."""
        if cache is not None:
            return self._continue(cache, tokens)
        if tokens > self.config.max_seq_len:
            raise InputError(f"{tokens} tokens are more than max_seq_len {self.config.max_seq_len}")
        return self.rotary[:, :tokens, None], None if segment_ids_BT is None else packed_mask(segment_ids_BT)

    def logits(self, x: Tensor) -> Tensor:
        """Output projection of hidden states (…, D) to float32 logits (…, V)."""
        cap = self.config.softcap
        return cap * torch.tanh(self.head(x).float() / cap) if cap else self.head(x).float()

    def _embedded(self, ids_BT: Tensor) -> Tensor:
        """The stream's beginning; of size 1 where layers recall it, so that its part does not depend on the table."""
        x_BTD = self.embedding(ids_BT)
        return F.rms_norm(x_BTD, x_BTD.shape[-1:]) if self.config.residual_weights else x_BTD

    def _more(self, layer: int, ids_BT: Tensor) -> Tensor | None:
        """What this layer's values get from their table, (B, T, H_kv, K)."""
        table = self.config.table_of.get(layer)
        if table is None:
            return None
        weight = self.value_weights[sorted(self.config.table_of).index(layer)]
        return weight * self.embedding_values[table](ids_BT).unflatten(-1, (-1, self.config.head_dim))

    def _near(self, mask: Tensor | None, tokens: int, cache: KVCache | None, branched: bool) -> Tensor | None:
        """The mask where the tokens further back than the window are left out; `mask` where there are none."""
        window, device = self.config.window, self.embedding.weight.device
        end = tokens if cache is None else cache.length + tokens
        if end <= window:
            return mask
        if branched and mask is not None:
            positions_BT = mask[:, 0].sum(-1) - 1
            return mask & (positions_BT[:, :, None] - positions_BT[:, None, :] < window)[:, None]
        slots_S = torch.arange(end, device=device)
        back_TS = slots_S[end - tokens :, None] - slots_S
        return (back_TS < window) & ((back_TS >= 0) if mask is None else mask)

    def _branch(self, branches_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary entries and mask of rows that branch; a token's position is the number of tokens it sees before it."""
        tokens = branches_BT.shape[1]
        causal = torch.ones(tokens, tokens, dtype=torch.bool, device=branches_BT.device).tril()
        own_BTS = branches_BT[:, :, None] == branches_BT[:, None, :]
        mask_BTS = causal & (own_BTS | (branches_BT == 0)[:, None, :])
        positions_BT = (mask_BTS.sum(-1) - 1).where(branches_BT >= 0, 0)
        if tokens > self.config.max_seq_len and int(positions_BT.max()) >= self.config.max_seq_len:
            raise InputError(f"a branch is longer than max_seq_len {self.config.max_seq_len}")
        return self.rotary[:, positions_BT][..., None, :], mask_BTS[:, None]

    def _continue(self, cache: KVCache, tokens: int) -> tuple[Tensor, Tensor]:
        """Rotary entries and mask for `tokens` new tokens after those in the cache; positions count from each start."""
        end = cache.length + tokens
        if end > cache.capacity:
            raise InputError(f"{end} tokens do not fit into a cache of {cache.capacity}")
        slots_S = torch.arange(end, device=cache.starts_B.device)
        new_T = slots_S[cache.length :]
        positions_BT = (new_T - cache.starts_B[:, None]).clamp(min=0)
        real_B1S = slots_S >= cache.starts_B[:, None, None]
        seen_1TS = slots_S <= new_T[:, None]
        itself_1TS = slots_S == new_T[:, None]  # padding sees itself, so that no row of the softmax is empty
        mask_BTS = (real_B1S & seen_1TS) | itself_1TS
        return self.rotary[:, positions_BT][..., None, :], mask_BTS[:, None]


def feed_forward(config: TransformerConfig) -> nn.Module:
    """The feed-forward part of a block."""
    return SwiGLU(config) if config.activation == "swiglu" else SquaredReLU(config)


def rotary_table(config: TransformerConfig) -> Tensor:
    """Cosines and sines, (2, max_seq_len, K) float32; the two halves of K hold the same angles (split-half layout)."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angles = torch.arange(config.max_seq_len, dtype=torch.float64)[:, None] * config.rope_theta**-exponents
    angles = torch.cat([angles, angles], dim=-1)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotary positions on (B, T, H, K): channel i turns together with channel i + K/2."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x * rotary[0] + turned * rotary[1]).to(x.dtype)


def packed_mask(segment_ids_BT: Tensor) -> Tensor:
    """(B, 1, T, T) boolean: causal and only within a segment. Positions need no restart: rotary scores are relative."""
    tokens = segment_ids_BT.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=segment_ids_BT.device).tril()
    return (causal & (segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]))[:, None]

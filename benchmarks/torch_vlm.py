"""VLM's pre-training step in PyTorch on Hugging Face's `BertModel`, for comparison.

It is what a user would write today: the library's encoder, the model's own video MLP and head,
masked positions chosen by boolean indexing, the joint softmax as a matrix, fused Adam. Batches and
masks are those of `vtmask`.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from vtmask.models import VLMConfig


class VLM(nn.Module):
    """Encoder, video MLP and prediction head; the forward pass gives the MTM loss."""

    def __init__(self, model_config: VLMConfig):
        super().__init__()
        self.config = model_config
        width = model_config.hidden_size
        config = BertConfig(
            vocab_size=model_config.vocab_size,
            hidden_size=width,
            num_hidden_layers=model_config.num_layers,
            num_attention_heads=model_config.num_heads,
            intermediate_size=model_config.mlp_size,
            hidden_dropout_prob=model_config.dropout_rate,
            attention_probs_dropout_prob=model_config.dropout_rate,
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.video_mlp = nn.Sequential(
            nn.Linear(model_config.feature_size, width),
            nn.GELU(),
            nn.LayerNorm(width, eps=1e-5),
            nn.Linear(width, width),
        )
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-12)
        )
        for module in (*self.video_mlp, *self.head):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=model_config.initializer_range)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        video: Tensor,
        video_mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
        masked_text: Tensor,
        video_masked: Tensor,
        text_masked: Tensor,
    ) -> Tensor:
        words = self.bert.embeddings.word_embeddings
        frames = video.shape[1]
        video = video.float()
        targets = self.video_mlp(video)
        visible = self.video_mlp(video * ~video_masked[..., None])
        special = words(text.new_tensor([self.config.cls_id, self.config.sep_id]))
        cls, sep = special[:, None, None].expand(-1, len(text), -1, -1)
        embedded = torch.cat([cls, visible, sep, words(masked_text)], dim=1)
        place = torch.arange(embedded.shape[1], device=text.device)
        segment = (place >= frames + 2).long().expand(len(text), -1)
        ones = torch.ones_like(video_mask[:, :1])
        hidden = self.bert(
            inputs_embeds=embedded,
            attention_mask=torch.cat([ones, video_mask, ones, text_mask], dim=1),
            position_ids=place[None],
            token_type_ids=segment,
        ).last_hidden_state

        frame_hidden = self.head(hidden[:, 1 : frames + 1][video_masked])
        word_hidden = self.head(hidden[:, frames + 2 :][text_masked])
        negatives = targets[video_mask & ~video_masked]
        own = (frame_hidden * targets[video_masked]).sum(1, keepdim=True)
        frame_logits = torch.cat(
            [own, frame_hidden @ negatives.T, frame_hidden @ words.weight.T], dim=1
        )
        word_logits = torch.cat(
            [
                word_hidden @ words.weight.T,
                word_hidden @ negatives.T,
                word_hidden.new_zeros(len(word_hidden), 1),
            ],
            dim=1,
        )
        right = torch.cat([text.new_zeros(len(own)), text[text_masked]])
        logits = torch.cat([frame_logits, word_logits]).float()
        return nn.functional.cross_entropy(logits, right)


Step = Callable[[dict[str, np.ndarray]], Tensor]


def make_step(model_config: VLMConfig, optim: ConfigDict, to_longest: bool, compiled: bool) -> Step:
    """Makes a training step, from a batch and its masks to the loss on the device.

    Args:
      to_longest: True cuts frames and text to the longest of the batch; otherwise all have the
        model's lengths.
      compiled: by `torch.compile`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = VLM(model_config).train().to(device)
    betas = (optim.b1, optim.b2)
    optimizer = torch.optim.Adam(model.parameters(), optim.lr, betas, optim.eps, fused=True)
    forward: Any = torch.compile(model) if compiled else model
    mixed = model_config.dtype == "bfloat16"

    def put(value: np.ndarray) -> Tensor:
        return torch.tensor(value, pin_memory=device == "cuda").to(device, non_blocking=True)

    def step(batch: dict[str, np.ndarray]) -> Tensor:
        if to_longest:
            batch = cut(batch)
        data = {name: put(value) for name, value in batch.items()}
        data |= {name: data[name].long() for name in ("text", "masked_text")}
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = forward(**data)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def cut(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cuts frames and text to the longest of the batch."""
    frames, words = (batch[name].any(0).sum() for name in ("video_mask", "text_mask"))
    return {name: x[:, : frames if "video" in name else words] for name, x in batch.items()}

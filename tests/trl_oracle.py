"""TRL's own loss on given tensors: the trainer's ``_compute_loss`` on a stand-in that has just the fields it reads."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from modules.rl.grpo import GRPO

trainer = pytest.importorskip("trl.trainer.grpo_trainer")


def trl_loss(
    config: GRPO,
    log_probs,
    old,
    reference,
    advantages,
    mask,
    entropies,
    entropy_coef=0.0,
    *,
    max_length: int,
    num_items=None,
    num_processes: int = 1,
    num_batches: int = 1,
    importance=None,
) -> torch.Tensor:
    """The loss of one of ``num_batches`` micro-batches on one of ``num_processes`` ranks; ``num_items`` is all their
    positions together, those of the mask by default; ``importance`` is the ratio to what an engine drew from."""
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    if config.loss_type == "cispo" and config.epsilon_high is None:
        high = 5.0
    stand_in = SimpleNamespace(
        loss_type=config.loss_type,
        importance_sampling_level=config.importance_sampling_level,
        beta=config.beta,
        epsilon_low=config.epsilon,
        epsilon_high=high,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=importance is not None,
        vllm_importance_sampling_correction=importance is not None,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=entropy_coef > 0,
        entropy_coef=entropy_coef,
        use_adaptive_entropy=False,
        max_completion_length=max_length,
        current_gradient_accumulation_steps=num_batches,
        accelerator=SimpleNamespace(
            num_processes=num_processes,
            gather=lambda x: x,
            gather_for_metrics=lambda x: x,
            reduce=lambda x, reduction: x,
            sync_gradients=True,
        ),
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        args=SimpleNamespace(
            delta=config.delta,
            use_bias_correction_kl=config.use_bias_correction_kl,
            steps_per_generation=num_batches,
            sapo_temperature_pos=config.sapo_temperature_pos,
            sapo_temperature_neg=config.sapo_temperature_neg,
        ),
        _get_per_token_logps_and_entropies=lambda *a, **k: (log_probs, entropies, None),
    )
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :0],
        "prompt_mask": ids[:, :0],
        "completion_ids": ids,
        "completion_mask": mask.long(),
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum() if num_items is None else num_items,
        "importance_sampling_ratio": importance,
    }
    return trainer.GRPOTrainer._compute_loss(stand_in, None, inputs)

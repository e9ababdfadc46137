"""The reference that a gradient clip is measured against, and the clip itself; both hosts compute them here."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_DECAY = 0.99


def clip_factor(norm: Tensor, clip: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return what keeps gradient norms at most `clip` times their reference, and the new reference.

    Only groups with a clip below 1 are looked at: the present norm counts into the reference before it
    is compared, so that a clip of 1 or more never clips.

    Args:
      norm: of the groups' gradients, any shape.
      clip: threshold over the reference, likewise.
      reference: slowly decaying maximum of the norms, likewise.

    Returns:
      What the gradients are to be multiplied by, 1 where the norm is no larger; the reference.
    """
    clips = clip < 1.0
    # A non-finite norm must not stay in the reference.
    reference = torch.where(clips, torch.maximum(reference, norm.nan_to_num(0.0, 0.0, 0.0)), reference)
    threshold = clip * reference
    # Nor can infinity be clipped: times 0 it is NaN.
    return torch.where(clips & (norm > threshold) & norm.isfinite(), threshold / norm, 1.0), reference


def decayed_reference(reference: Tensor, norm: Tensor, num_steps: int) -> Tensor:
    """Return the reference at the end of a control step: 1 % less for each of its steps, at least the last norm.

    Args:
      reference: slowly decaying maximum of the norms, any shape.
      norm: of the gradients of the last step, whose sketch is read anyway, likewise.
      num_steps: inner steps of the control step.
    """
    return torch.maximum(reference * CLIP_DECAY**num_steps, norm.nan_to_num(0.0, 0.0, 0.0))

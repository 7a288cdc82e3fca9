"""What VideoLucy and its controls have in common, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass, field

from modules.files.paths import InputPath
from modules.methods.videolucy.entry_choices import EntryFeatures
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.spending import Budget


@dataclass(frozen=True, kw_only=True)
class LucySettings:
    """Prompts, memories and limits.

    Args:
        prompts: folder of the prompts (`modules.methods.videolucy.role_prompts.BLANKS` names the files).
        memories: folder of what captioners wrote; questions, systems and runs share it.
        num_relevant: coarse periods that are kept at the start, each with its neighbours (paper: 3).
        max_retries: of an answer that cannot be used; the reasoner is told each time what was wrong.
        clips_together: spans whose frames are in memory at a time and that the captioner is given together.
        budget: of one question.
        notation: how memories are written for the reasoner.
        entry_features: what a sampler sees of a coarse memory: its text, its frames, or both; its width is the
            encoder's, or with both twice that.
    """

    prompts: InputPath = "recipes/prompts/videolucy"
    memories: str = "data/memories"
    num_relevant: int = 3
    max_retries: int = 2
    clips_together: int = 8
    budget: Budget = field(default_factory=Budget)
    notation: Notation = field(default_factory=Notation)
    entry_features: EntryFeatures = "both"

    def __post_init__(self) -> None:
        if self.num_relevant < 1 or self.clips_together < 1 or self.max_retries < 0:
            raise ValueError(
                f"num_relevant={self.num_relevant}, clips_together={self.clips_together}, "
                f"max_retries={self.max_retries}: at least 1, 1 and 0"
            )

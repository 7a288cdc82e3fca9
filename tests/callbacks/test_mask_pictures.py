"""The pictures of a sparse mask say what is in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

from callbacks.mask_pictures import MaskPictures, mask_figure


def band() -> torch.Tensor:
    """Three steps of two places: open to the same and the next step."""
    links = torch.full((3, 2, 3, 2), 0.1)
    for one in range(3):
        for other in range(3):
            if abs(one - other) <= 1:
                links[one, :, other] = 0.9
    links = links.reshape(6, 6)
    links.fill_diagonal_(1.0)
    return links


def test_curves_are_the_means_by_distance_in_time() -> None:
    figure = mask_figure(band(), (3, 1, 2), step=7)
    matrix, curves, *_ = figure.axes
    here, elsewhere = (line.get_ydata() for line in curves.get_lines())
    assert here[1:].tolist() == pytest.approx([0.9, 0.1])
    assert elsewhere.tolist() == pytest.approx([0.9, 0.9, 0.1])
    assert matrix.get_title().startswith("update 7: mean 0.69, 73% above 0.5")
    plt.close(figure)


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_small_grids_are_drawn_too(grid: tuple[int, int, int]) -> None:
    tokens = grid[0] * grid[1] * grid[2]
    plt.close(mask_figure(torch.eye(tokens), grid, step=0))


def test_a_picture_is_written_at_each_validation_of_a_training(tmp_path: Path) -> None:
    pictures = MaskPictures(run_dir=str(tmp_path))
    module = SimpleNamespace(mask_links=lambda: (band(), (3, 1, 2)))
    state = SimpleNamespace(fn="fit")
    trainer = SimpleNamespace(state=state, sanity_checking=False, is_global_zero=True, global_step=30, loggers=[])
    pictures.on_validation_end(trainer, module)  # type: ignore[arg-type]
    state.fn = "validate"
    trainer.global_step = 31
    pictures.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["mask_000030.png"]

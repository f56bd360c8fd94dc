"""Cases in: the data sets by name, each opened by ``DATASETS[name](root, seed, limit)``.

``params=Preprocessing(...)`` besides says how masks are resized, where not as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uadbench.datasets.case import Dataset
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing

if TYPE_CHECKING:
    from uadbench.datasets.layouts import Layout

__all__ = ["DATASETS", "Opener", "Volumes"]


class Opener(Protocol):
    """Opens a data set; CaseError where its files are not there."""

    def __call__(
        self,
        root: Path | None = None,
        seed: int = 0,
        limit: int | None = None,
        params: Preprocessing = PREPROCESSING,
    ) -> Dataset: ...


def opener(module: str, function: str, **options: Any) -> Opener:
    """The function ``uadbench.datasets.<module>.<function>`` with options, imported when first called."""

    def open_dataset(
        root: Path | None = None,
        seed: int = 0,
        limit: int | None = None,
        params: Preprocessing = PREPROCESSING,
    ) -> Dataset:
        opened = getattr(import_module(f"uadbench.datasets.{module}"), function)
        dataset: Dataset = opened(root, seed, limit, params=params, **options)
        return dataset

    return open_dataset


@dataclass(frozen=True)
class Volumes:
    """Opens ``public.<module>``, whole volumes as they are published; what follows the name chooses among them.

    It may be called with ``options``, the words of "brats:t2:all" behind the name.
    """

    module: str

    def __call__(
        self,
        root: Path | None = None,
        seed: int = 0,
        limit: int | None = None,
        params: Preprocessing = PREPROCESSING,
        options: Sequence[str] = (),
    ) -> Dataset:
        from uadbench.datasets.slices import open_layout

        return open_layout(self.layout, root, limit, params, options)

    @property
    def layout(self) -> Layout:
        """Where the files are, what there is to choose from, where it comes from."""
        found: Layout = import_module(f"uadbench.datasets.public.{self.module}").LAYOUT
        return found


DATASETS: dict[str, Opener] = {
    "phantom": opener("phantom", "open_phantom"),
    "phantom-wrist": opener("phantom_wrist", "open_phantom_wrist"),
    "ixi-stroke": opener("public.ixi_stroke", "open_ixi_stroke"),
    "ixi-stroke-balanced": opener("public.ixi_stroke", "open_ixi_stroke", balanced=True),
    "soop-flair": opener("public.soop_flair", "open_soop_flair"),
    "grazpedwri": opener("public.grazpedwri", "open_grazpedwri"),
    "folder": opener("folder", "open_folder"),
    "atlas": Volumes("atlas"),
    "ixi": Volumes("ixi"),
    "brats": Volumes("brats"),
    "mslub": Volumes("mslub"),
    "wmh": Volumes("wmh"),
    "bids": Volumes("bids"),
}

"""TensorBoard's curves of a fit."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorwise.training.callbacks import AbstractCallback, Moment
from priorwise.training.fit_result import FitResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard"]

_EVENTS = "events.out.tfevents.*"


class TensorBoard(AbstractCallback):
    """Writes every line of metrics into a folder for TensorBoard; needs the extra ``tensorboard``.

    The curves are ``train/TERM`` and ``validation/METRIC``, and the learning rate of each player,
    ``lr/PLAYER``. Terms are in nats per example, and the axis counts the steps of the run. A fit
    that goes on adds to the curves: what an earlier session wrote beyond its last checkpoint is
    marked as void, and TensorBoard does not show it. In an empty folder, a fit that goes on first
    writes the lines that it has. Look at the curves with ``tensorboard --logdir FOLDER``.

    Arguments:
        folder: Where the curves lie; one folder a run.

    Raises:
        ImportError: if the extra is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise ImportError(
                "expected the packages of the extra `tensorboard`; they are not installed. Run pip "
                "install 'priorwise[tensorboard]'. The same numbers are in metrics.jsonl of a run "
                "folder."
            )
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        """Open the folder, and write the lines of earlier sessions if it has none of them."""
        from torch.utils.tensorboard import SummaryWriter

        self._close()
        is_new = not any(self.folder.glob(_EVENTS))
        self._writer = SummaryWriter(str(self.folder), purge_step=moment.step + 1)
        for line in history if is_new else []:
            self._write(line)
        self._writer.flush()

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        """Write a line, and the learning rate of each player."""
        assert self._writer is not None
        self._write(line)
        for player, optimizer in moment.optimizers.items():
            self._writer.add_scalar(f"lr/{player}", optimizer.param_groups[0]["lr"], moment.step)
        self._writer.flush()

    def on_end(self, result: FitResult) -> None:
        """Close the folder."""
        self._close()

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._writer is not None
        for kind in ("train", "validation"):
            for name, value in line.get(kind, {}).items():
                self._writer.add_scalar(f"{kind}/{name}", value, line["step"])

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

"""What a person sees while something long is going on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

OnProgress = Callable[[int, int], None]


class TrainingBar:
    """A bar with rate, loss, PSNR and time left. Where the output is no terminal, a plain line at every tenth."""

    def __init__(self, console: Console, steps: int, quiet: bool):
        self._console, self._steps, self._quiet = console, steps, quiet
        self._tenth = -1
        self._began: tuple[int, float] | None = None
        self._progress = Progress(
            TextColumn("[bold]train"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            _Rate(),
            TextColumn("{task.fields[loss]}  {task.fields[psnr]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=False,
        )
        self._task = self._progress.add_task("train", total=steps, loss="", psnr="")

    @contextmanager
    def shown(self) -> Iterator[TrainingBar]:
        if self._quiet or not self._console.is_terminal:
            yield self
            return
        with self._progress:
            yield self

    def stepped(self, step: int, loss: float, psnr: float, seconds: float) -> None:
        if self._quiet:
            return
        loss_text, psnr_text = f"loss {loss:.2e}", f"PSNR {psnr:5.2f}"
        if self._console.is_terminal:
            self._progress.update(self._task, completed=step, loss=loss_text, psnr=psnr_text)
            return
        self._began = self._began or (step, seconds)
        tenth = 10 * step // self._steps
        if tenth > self._tenth:
            self._tenth = tenth
            done, spent = step - self._began[0], seconds - self._began[1]
            rate = (
                f"{done / spent:.1f}/s, {(self._steps - step) * spent / done:.0f} s left"
                if done and spent
                else "starting"
            )
            self._console.print(
                f"  step {step}/{self._steps}  {loss_text}  {psnr_text}  {seconds:.0f} s  ({rate})", highlight=False
            )


@contextmanager
def counting(console: Console, what: str, quiet: bool = False) -> Iterator[OnProgress]:
    """Progress of a task with countable parts, such as the frames of a video."""
    if quiet or not console.is_terminal:
        yield lambda done, of: None
        return
    with Progress(
        TextColumn(what),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s", style="cyan")

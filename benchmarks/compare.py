"""Nothing, the stock callback, W&B's own integration and ours, side by side: a table, as Markdown and JSON, and a plot.

Run it as scripts/benchmark; ``--help`` says what can be chosen.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

sys.path.insert(0, str(Path(__file__).parent))

import batches
import curves
import scale
import whole
from table import Line, draw, markdown
from trainings import Trainings

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = ("whole", "curves", "batches", "scale")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[whole|curves|batches|scale]...")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Trainings of each kind.")
@click.option("--epochs", type=click.IntRange(4), default=30, show_default=True, help="Epochs of each training.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="GPUs to train on; 0: on the CPU.")
@click.option("--ranks", multiple=True, type=int, default=(1, 8, 32, 64), show_default=True, help="Ranks of 'scale'.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("benchmark"),
    show_default=True,
    help="Where table and plot are written.",
)
def main(parts: tuple[str, ...], rounds: int, epochs: int, gpus: int, ranks: tuple[int, ...], out: Path) -> None:
    """Measure all PARTS, or some, and write benchmark.md, benchmark.json and benchmark.png."""
    out.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        trainings = Trainings(Path(folder), gpus)
        for part in parts or PARTS:
            for line in measure(part, trainings, rounds, epochs, ranks):
                lines.append(line)
                click.echo(line.text)
    text = markdown(lines)
    (out / "benchmark.md").write_text(text, encoding="utf-8")
    (out / "benchmark.json").write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")
    draw(lines, out / "benchmark.png")
    click.echo(f"\n{text}\n{', '.join(sorted(str(file) for file in out.glob('benchmark.*')))}")


def measure(part: str, trainings: Trainings, rounds: int, epochs: int, ranks: tuple[int, ...]) -> Iterator[Line]:
    """Measure a part."""
    if part == "whole":
        yield from whole.measure(trainings, rounds, epochs)
    elif part == "curves":
        yield from curves.measure()
    elif part == "batches":
        yield from batches.measure(trainings)
    else:
        yield from scale.measure(trainings.folder, ranks)


if __name__ == "__main__":
    main()

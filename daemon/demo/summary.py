"""What the demo found out, and how it is told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.demo.pictures import Picture
from daemon.demo.tables import Neighbour

SHOWN = 5
"""Images whose neighbours are printed."""
Neighbours = Sequence[tuple[str, Sequence[tuple[str, float]]]]
"""Names of images, each with the names of its neighbours and their cosines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run of the demo. `accuracy` is the share of images whose nearest other lies in the same folder."""

    images: int
    vectors: int
    failures: Mapping[str, int]
    seconds: float
    signature: str
    trained: bool
    engine: str
    accuracy: float | None
    neighbours: Neighbours

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def images_per_second(self) -> float:
        return self.vectors / self.seconds if self.seconds else 0.0

    @property
    def complete(self) -> bool:
        """Every image has its vector."""
        return self.vectors == self.images

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "images": self.images,
            "vectors": self.vectors,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "signature": self.signature,
            "trained": self.trained,
            "engine": self.engine,
            "failures": dict(self.failures),
            "nearest_neighbour_accuracy": None if self.accuracy is None else round(self.accuracy, 4),
        }


def accuracy(nearest: Sequence[Neighbour], pictures: Mapping[int, Picture]) -> float | None:
    """Leave-one-out 1-NN over the folders: None unless there are at least two, with two pictures or more in one."""
    sizes = Counter(picture.label for picture in pictures.values())
    if len(sizes) < 2 or max(sizes.values()) < 2 or not nearest:
        return None
    right = sum(pictures[one.image].label == pictures[one.other].label for one in nearest)
    return right / len(nearest)


def show(summary: Summary, console: Console) -> None:
    """Prints it for people."""
    console.print(
        f"\n[bold]{summary.vectors} of {summary.images} images have their vector[/bold], {summary.failed} failed; "
        f"{summary.seconds:.1f} s, {summary.images_per_second:.0f} images/s on {summary.engine}"
    )
    if not summary.trained:
        console.print(UNTRAINED, style="yellow")
    console.print(f"signature: {summary.signature}", highlight=False)
    for reason, count in summary.failures.items():
        console.print(f"  failed: {count} × {reason}", style="red")
    if summary.accuracy is not None:
        console.print(f"nearest neighbour lies in the same folder (leave-one-out 1-NN): {summary.accuracy:.2f}")
    if summary.neighbours:
        console.print(_table(summary.neighbours))


UNTRAINED = (
    "The weights are untrained: the pipeline is real, but what the vectors call alike means little. "
    "For real ones: --weights FILE, a Keras .h5 or .keras file of MobileNetV2 without top."
)


def _table(neighbours: Neighbours) -> Table:
    table = Table("image", "nearest by pgvector, with their cosine", title="A few images and their neighbours")
    for image, others in neighbours:
        # Text, not markup: files are named as people like.
        table.add_row(Text(image), Text("\n".join(f"{cosine:.3f}  {other}" for other, cosine in others)))
    return table

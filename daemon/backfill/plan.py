"""The plan of a backfill: shards, images, bytes and hours. Pure."""

from dataclasses import dataclass

VECTOR_OVERHEAD = 60
"""Bytes of a row of vectors besides the vector: its header, the other columns, two entries in B-trees."""
FLOAT_BYTES = 4
HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What was measured on a sample, or given. Images a second of one loader, and of one engine; bytes of an image.

    `images` is the size of the sample, 0 where the rates were given; `failed` are those of it that came to no vector.
    """

    loader: float
    engine: float
    image_bytes: float = 0.0
    images: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done. `missing` is an estimate: the open shards' images times the share missing in some of them."""

    shards: int
    images: int
    open_shards: int
    open_images: int
    missing: int
    loaders: int
    embedders: int
    dimension: int
    rates: Rates

    @property
    def rate(self) -> float:
        """Images a second of all workers: what is slower, all loaders or all engines. PostgreSQL is left out."""
        return min(self.loaders * self.rates.loader, self.embedders * self.rates.engine)

    @property
    def fetched_bytes(self) -> float:
        return self.missing * self.rates.image_bytes

    @property
    def stored_bytes(self) -> float:
        """Of the table, without a vector index."""
        return float(self.missing * (self.dimension * FLOAT_BYTES + VECTOR_OVERHEAD))

    @property
    def hours(self) -> float | None:
        """None where no rate is known."""
        return self.missing / self.rate / HOUR if self.rate > 0 else None

    @property
    def bound_by(self) -> str:
        return "loaders" if self.loaders * self.rates.loader <= self.embedders * self.rates.engine else "engines"


def lines(plan: Plan) -> list[str]:
    """The plan for people."""
    rates, hours = plan.rates, plan.hours
    how = f"measured on {rates.images} images, {rates.failed} of which failed" if rates.images else "as given"
    return [
        f"shards   {plan.open_shards:,} to do, of {plan.shards:,}",
        f"images   {plan.missing:,} to do (estimated), of {plan.open_images:,} in these, {plan.images:,} in all",
        f"fetched  {_amount(plan.fetched_bytes)}, {_amount(rates.image_bytes)} an image",
        f"stored   {_amount(plan.stored_bytes)} of vectors, without a vector index",
        f"workers  {plan.loaders:,} loader{'s' * (plan.loaders != 1)}, {rates.loader:,.1f} images/s each ({how})",
        f"         {plan.embedders:,} engine{'s' * (plan.embedders != 1)}, {rates.engine:,.1f} images/s each",
        f"rate     {plan.rate:,.1f} images/s, bound by the {plan.bound_by}",
        "hours    " + ("unknown: no image could be had" if hours is None else f"{hours:,.2f}"),
    ]


def _amount(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"

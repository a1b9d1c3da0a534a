"""What a row of the table is."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """A goal is a figure (milliseconds, or KiB where the title says so), or a factor of what a limit column took in the same
    run. `rounds`: at most so many, for rows of seconds. `writes`: durability costs something there, so that the column
    without it (img fast) says something. `family` and `size` belong to rows of growth (report.growth)."""
    title: str
    goal: float = None
    factor: float = None
    against: str = "limit"
    rounds: int = 10
    writes: bool = False
    quick: bool = False
    family: str = None
    size: int = 0

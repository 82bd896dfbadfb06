"""What was prepared, and what was left out and why: the content of data.json, and of a cache entry. Stdlib only."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    source: str = ""
    kind: str = ""  # of source: folder, zip, array, demo
    size: tuple[int, int]  # height, width
    channels: int
    crop: str = "center"
    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 0
    conditional: bool = False
    count: int  # images; "images" in the file
    classes: list[str]  # in the order of their labels; [] where there are none
    fingerprint: str  # of the pixels and labels: not of names and dates
    in_place: bool = False  # the source itself is what is read
    gaps: list[int] = dataclasses.field(default_factory=list)  # numbers of the listed names without a row
    left_out: list[dict] = dataclasses.field(default_factory=list)  # {"file", "reason"}
    duplicates: list[dict] = dataclasses.field(default_factory=list)  # {"file", "same_as"}
    small: list[dict] = dataclasses.field(default_factory=list)  # {"file", "size"}
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """height, width, channels"""
        return (*self.size, self.channels)

    def to_json(self) -> dict:
        content = dataclasses.asdict(self)
        return {"images" if name == "count" else name: value for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping) -> "Manifest":
        """Of any version; raises KeyError, TypeError or ValueError where what counts is missing."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        values |= {
            "count": int(content["images"]),
            "size": tuple(content["size"]),
            "fingerprint": content["fingerprint"],
        }
        if "background" in values:
            values["background"] = tuple(values["background"])
        return cls(**values)

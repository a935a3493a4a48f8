"""Draw the layers of the package from the contract in pyproject.toml.

``python docs/scripts/layers.py`` writes docs/images/layers.svg.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/images/layers.svg"
DOORS = {
    "cli": "click, rich", "server": "fastapi, uvicorn", "gym": "gymnasium", "storage": "lmdb",
    "agents": "torch", "plot": "matplotlib",
}  # fmt: skip
KNOWS_NO_STORE = {"kube", "agents", "plot"}
WIDTH, LEFT, ROW, BOX, GAP = 760, 20, 56, 40, 10


def layers() -> list[list[str]]:
    """Return the layers from top to bottom, each with its packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    found = next(each["layers"] for each in contracts if each["type"] == "layers")
    return [layer.split(" | ") for layer in found]


def picture(rows: list[list[str]]) -> str:
    """Return the SVG: a row a layer; below a box is what it may import."""
    height = ROW * len(rows) + 44
    found = [HEAD.format(width=WIDTH, height=height)]
    for number, row in enumerate(rows):
        y = 10 + ROW * number
        width = (WIDTH - 2 * LEFT - GAP * (len(row) - 1)) / len(row)
        for place, name in enumerate(row):
            x = LEFT + place * (width + GAP)
            kind = "apart" if name in KNOWS_NO_STORE else "box"
            found.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BOX}" class="{kind}"/>'
            )
            middle = x + width / 2
            base = y + (18 if name in DOORS else 25)
            found.append(f'<text x="{middle:.1f}" y="{base}" class="name">{name}</text>')
            if name in DOORS:
                door = DOORS[name]
                found.append(f'<text x="{middle:.1f}" y="{base + 15}" class="door">{door}</text>')
        if number < len(rows) - 1:
            x, top = WIDTH / 2, y + BOX + 2
            found.append(f'<path d="M{x} {top} v8 m-4 -4 l4 5 l4 -5" class="arrow"/>')
    for line, words in enumerate(NOTES):
        y = height - 24 + 16 * line
        found.append(f'<text x="{LEFT}" y="{y}" class="note">{words}</text>')
    return "\n".join([*found, "</svg>\n"])


NOTES = (
    "A package may import those below it, and none above it or beside it.",
    "Small print: packages of others that only this one imports. Grey: knows nothing of the store.",
)
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The layers of simgit</title>
<style>
text {{ font-family: system-ui, sans-serif; text-anchor: middle; fill: #1c2733 }}
.name {{ font-size: 15px; font-weight: 600 }} .door {{ font-size: 12px; fill: #50606f }}
.note {{ font-size: 11.5px; text-anchor: start; fill: #50606f }}
.box {{ fill: #e3edf8; stroke: #4a7db3 }} .apart {{ fill: #eceef0; stroke: #8a949e }}
.arrow {{ fill: none; stroke: #8a949e; stroke-width: 1.5 }}
</style>
<rect width="{width}" height="{height}" fill="#fff"/>"""


if __name__ == "__main__":
    PICTURE.write_text(picture(layers()), encoding="utf-8")

"""What pages are made of: a frame, tables, images that hold their own bytes."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

import imageio.v3 as iio
import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError
from fieldengine.export.files import atomic

PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>$title</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  table { border-collapse: collapse } td, th { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
  td { white-space: nowrap } td:first-child, th:first-child { text-align: left } .table { overflow-x: auto }
  svg { max-width: 100%; height: auto }
  .images { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.2rem }
  figure { margin: 0 } figcaption { font-weight: 600 } .pair { display: flex; gap: 4px }
  .pair img { width: 50%; image-rendering: pixelated } p, .note { color: #555 }
</style>
<h1>$title</h1>
$body
</html>
""")


def refuse_other_endings(out: Path) -> None:
    """Raise FieldEngineError where `out` is no .html file."""
    if out.suffix != ".html":
        raise FieldEngineError(f"{out}: a report ends in .html")


def save_page(out: Path, title: str, body: Sequence[str]) -> None:
    """Write a page of these elements, one below the other."""
    with atomic(out) as file:
        file.write_text(PAGE.substitute(title=html.escape(title), body="\n".join(body)), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = line(heads, "th") + "".join(line(row, "td") for row in rows)
    return f'<div class="table"><table>{lines}</table></div>'


def figure(caption: str, images: Sequence[str]) -> str:
    return f'<figure><figcaption>{html.escape(caption)}</figcaption><div class="pair">{"".join(images)}</div></figure>'


def inline_image(values: Tensor) -> str:
    """(h, w, c) in [0, 1] as an <img> that holds its own bytes."""
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    data = iio.imwrite("<bytes>", pixels[..., 0] if pixels.shape[-1] == 1 else pixels, extension=".png")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data).decode()}">'

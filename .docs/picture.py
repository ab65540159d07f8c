"""The picture of the README: the head and the errors of a run's report, as a browser shows them.

python .docs/picture.py runs/quickstart .docs/pages/quickstart.png

The run is that of `bash launch/quickstart.sh`. It needs Chromium (CHROMIUM names another binary).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

STYLE = """<style>
body { display: block }
main { max-width: none; margin: 0 24px }
nav, .skip, footer, #top, .cards ~ h3, .cards ~ .cards, .card:nth-child(n + 5),
main > section:not(#examples) { display: none !important }
</style>"""
WIDTH, HEIGHT, COLOURS = 1000, 1250, 256


def main(run: str, out: str) -> None:
    page = (Path(run) / "report.html").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        html, png = Path(folder) / "page.html", Path(folder) / "page.png"
        html.write_text(page.replace("</head>", f"{STYLE}</head>"), encoding="utf-8")
        browser = os.environ.get("CHROMIUM", "chromium")
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={png}", html.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        picture = Image.open(png).convert("RGB")
        background = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
        _, _, _, bottom = ImageChops.difference(picture, background).getbbox()
        picture = picture.crop((0, 0, WIDTH, min(bottom + 24, HEIGHT)))
        picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

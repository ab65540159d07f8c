"""The plot of scores over severities is a picture with a panel a modality."""

import io

import PIL.Image

from mmjax.report.robustness import draw


def test_a_panel_each(tmp_path):
    one = {"image/noise": [0.9, 0.5], "image/blur": [0.9, None], "text/missing": [0.9, 0.1]}
    made = draw((0.0, 1.0), "accuracy", one)
    with PIL.Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (2 * 540, 450)

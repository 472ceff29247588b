"""Read scikit-learn's 1,797 handwritten digits (grey 8 x 8 images), which need no download, for a first try and for
tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.datasets import load_digits

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.labels import encode_labels
from quorate.data.source import DataParams, OpenedData, TestSplit, hold_out, origin_of
from quorate.registry import DATASETS
from quorate.spec import TestOrigin


class DigitsParams(DataParams):
    kind: Literal["digits"] = "digits"
    test: TestSplit | None = TestSplit(fraction=0.25, seed=0)
    """The held-out fraction; `null` holds out no test rows."""

    def test_origin(self) -> TestOrigin:
        return origin_of(self.test)


@DATASETS.register("digits")
class Digits:
    """The digits of the UCI repository that come with scikit-learn."""

    Params = DigitsParams

    @staticmethod
    def open(params: DigitsParams) -> OpenedData:
        pixels, labels = load_digits(return_X_y=True)
        scaled = (pixels.reshape(-1, 8, 8, 1) * 15.9375).astype(np.uint8)  # 0..16 to 0..255
        y, names = encode_labels(labels)
        data = Dataset(ArrayImages(scaled), y, names)
        return OpenedData(*hold_out(data, params.test)) if params.test else OpenedData(data, None)

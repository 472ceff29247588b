"""Views of images are drawn from their position alone, and teacher and student see the same ones."""

from __future__ import annotations

import numpy as np

from quorate.data.dataset import ArrayImages, JoinedImages
from quorate.training.augment import Augment
from quorate.training.views import ViewedImages

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
AUGMENT = Augment.model_validate({"crop": 2, "mirror": True})


def views(count: int = 4, *, augment: Augment = AUGMENT, seed: int = 5) -> ViewedImages:
    return ViewedImages(ArrayImages(PIXELS), augment, count, seed)


def test_a_view_does_not_depend_on_when_and_with_which_other_views_it_is_read() -> None:
    seen = views()
    everything = seen.take(np.arange(len(seen)))
    order = np.random.default_rng(1).permutation(len(seen))

    assert everything.shape == (48, 8, 8, 3) and everything.dtype == np.uint8
    np.testing.assert_array_equal(seen.take(order), everything[order])
    np.testing.assert_array_equal(seen.subset(order[:7]).take(np.arange(7)), everything[order[:7]])
    assert (views(seed=6).take(np.arange(12)) != everything[:12]).any()


def test_the_views_of_an_image_differ_and_so_do_the_images_of_a_view() -> None:
    seen = views(count=20)

    of_one = seen.take(np.arange(20) * 12)

    assert len({view.tobytes() for view in of_one}) > 15


def test_a_mixture_lies_between_its_image_and_one_of_the_others() -> None:
    seen = views(count=2, augment=Augment())
    assert seen.mixed.tolist() == [False, True] * 6 + [True, False] * 6  # half of each view, half of each image's

    everything = seen.take(np.arange(24)).reshape(2, *PIXELS.shape)

    own = np.arange(12)
    np.testing.assert_array_equal(everything[own % 2, own], PIXELS)
    mixtures = everything[1 - own % 2, own]
    for image, mixture in enumerate(mixtures.astype(np.float64)):
        own = PIXELS[image].astype(np.float64)
        errors = []
        for other in np.delete(PIXELS, image, axis=0).astype(np.float64):
            step = own - other
            share = ((mixture - other) * step).sum() / (step**2).sum()
            errors.append(np.abs(other + share * step - mixture).max() if 0 <= share <= 1 else np.inf)
        assert min(errors) <= 0.6 or np.abs(mixture - own).max() <= 0.6  # an image may meet itself


def test_the_fingerprint_of_views_depends_on_everything_that_they_are_drawn_from() -> None:
    others = [views(seed=6), views(3), views(augment=Augment()), ViewedImages(ArrayImages(PIXELS[::-1]), AUGMENT, 4, 5)]

    assert views().digest() == views().digest()
    assert len({views().digest(), *(other.digest() for other in others)}) == 5


def test_joined_images_are_those_of_the_parts_one_after_the_other() -> None:
    joined = JoinedImages((ArrayImages(PIXELS[:5]), ArrayImages(PIXELS[5:])))
    rows = np.array([11, 0, 5, 4, 4, 7])

    assert len(joined) == 12 and joined.shape == (8, 8, 3)
    np.testing.assert_array_equal(joined.take(rows), PIXELS[rows])
    np.testing.assert_array_equal(joined.subset(rows).take(np.arange(6)), PIXELS[rows])

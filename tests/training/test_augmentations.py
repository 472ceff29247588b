"""Each augmentation changes only what it should, and the seed determines every draw."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from quorate.registry import AUGMENTATIONS
from quorate.training.augment import Augment
from quorate.training.random_transforms import ROWS

SINGLE = [name for name in AUGMENTATIONS.names() if not AUGMENTATIONS.get(name).mixes]
EVERYTHING = dict.fromkeys(SINGLE, True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 12, height: int = 40, width: int = 48, channels: int = 3, seed: int = 5) -> torch.Tensor:
    """Smooth coloured images, no two alike and none symmetric."""
    coarse = torch.rand(n, channels, 5, 6, generator=generator(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def black(n: int, side: int = 30) -> torch.Tensor:
    return torch.zeros(n, side, side, 1, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SINGLE)
def test_augmentations_keep_shape_and_type_and_depend_on_the_seed(name, channels):
    augment = Augment.model_validate({name: {"saturation": 0} if (name, channels) == ("color", 1) else True})
    pixels = images(channels=channels)
    before, stream = pixels.clone(), torch.random.get_rng_state()

    first, again, other = (augment(pixels, generator(seed)) for seed in (1, 1, 2))

    assert first.dtype == torch.uint8 and first.shape == pixels.shape
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, pixels)
    assert torch.equal(pixels, before), "what it was given is not written to"
    assert torch.equal(torch.random.get_rng_state(), stream), "torch's own stream stays where it was"


@pytest.mark.parametrize("name", SINGLE)
def test_two_batches_in_a_row_are_drawn_differently(name):
    augment, source, pixels = Augment.model_validate({name: True}), generator(3), images()

    assert not torch.equal(augment(pixels, source), augment(pixels, source))


@pytest.mark.parametrize("name", SINGLE)
def test_a_pass_draws_once_for_all_images_however_they_are_batched(name):
    augment, pixels = Augment.model_validate({name: True}), images(9)

    together = augment(pixels, generator(4), shared=1)

    apart = [augment(part, generator(4), shared=1) for part in pixels.split([1, 2, 6])]
    assert torch.equal(torch.cat(apart), together)


def test_images_of_one_group_share_a_draw_and_groups_differ():
    same = images(1).expand(3 * ROWS, -1, -1, -1)

    turned = Augment(rotation=30)(same, generator())

    groups = turned.split(ROWS)
    assert all(torch.equal(image, group[0]) for group in groups for image in group)
    assert not torch.equal(groups[0][0], groups[1][0]) and not torch.equal(groups[1][0], groups[2][0])


def test_augmentations_are_applied_in_the_order_of_the_mapping():
    pixels = images()

    forth = Augment.model_validate({"erase": {"probability": 1}, "noise": 0.1})(pixels, generator())
    back = Augment.model_validate({"noise": 0.1, "erase": {"probability": 1}})(pixels, generator())

    lost = (back == 0).all(dim=3).flatten(1).float().mean(dim=1)
    assert (lost > 0.02).all(), "erased last: black"
    assert ((forth == 0).all(dim=3).flatten(1).float().mean(dim=1) < lost).all(), "there is noise on what was erased"


@pytest.mark.parametrize(("direction", "axes"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_a_mirror_gives_every_form_of_an_image_and_is_its_own_inverse(direction, axes):
    pixels, mirror = images(64), Augment(mirror=direction)

    mirrored = mirror(pixels, generator())

    forms = [pixels, *(pixels.flip(axis) for axis in axes)] + ([pixels.flip(1, 2)] if len(axes) == 2 else [])
    matches = torch.stack([(mirrored == form).flatten(1).all(dim=1) for form in forms])
    assert matches.sum(dim=0).eq(1).all()
    assert matches.any(dim=1).all()
    number = 2 ** len(axes) - 1
    twice = mirror(mirror(pixels, generator(), shared=number), generator(), shared=number)
    assert torch.equal(twice, pixels)


def test_passes_use_the_mirrors_in_turn():
    pixels, mirror = images(3), Augment(mirror="both")

    passes = [mirror(pixels, generator(), shared=number) for number in range(4)]

    for found, expected in zip(passes, (pixels, pixels.flip(2), pixels.flip(1), pixels.flip(1, 2)), strict=True):
        assert torch.equal(found, expected)


def test_quarter_turns_are_numpys():
    pixels = images(60 * ROWS, 16, 16)

    turned = Augment(rotation={"degrees": 180, "step": 90})(pixels, generator())

    quarters = torch.stack(
        [
            torch.from_numpy(np.rot90(pixels.numpy(), k, axes=(1, 2)).copy()).eq(turned).flatten(1).all(dim=1)
            for k in range(4)
        ]
    )
    assert quarters.sum(dim=0).eq(1).all()
    # 60 draws of four: 15 each, three standard deviations are 10
    assert (quarters.sum(dim=1) / ROWS - 15).abs().max() < 11


def test_a_rotation_turns_by_at_most_so_many_degrees_about_the_middle():
    # given: a bright spot to the right of the middle of each image
    pixels = torch.zeros(50 * ROWS, 41, 41, 1, dtype=torch.uint8)
    pixels[:, 19:22, 34:37] = 255

    # when
    turned = Augment(rotation=20)(pixels, generator())

    # then
    weight = turned[..., 0].double()
    place = torch.arange(41).double() - 20
    y, x = (weight * place[:, None]).sum((1, 2)), (weight * place).sum((1, 2))
    angle = torch.rad2deg(torch.atan2(-y, x))[::ROWS]
    assert angle.abs().max() < 20.5
    assert angle.max() > 14 and angle.min() < -14
    radius = torch.hypot(x, y) / weight.sum((1, 2))
    assert (radius - 15).abs().max() < 0.2


def test_the_greatest_angle_holds_for_steps_too():
    pixels = images(40 * ROWS, 16, 16)

    turned = Augment(rotation={"degrees": 100, "step": 90})(pixels, generator())

    half = torch.from_numpy(np.rot90(pixels.numpy(), 2, axes=(1, 2)).copy())
    assert not turned.eq(half).flatten(1).all(dim=1).any()


def test_affine_without_its_parts_changes_nothing_and_a_shift_alone_moves_whole_pixels():
    pixels = images(40)

    same = Augment(affine={"degrees": 0, "translate": 0, "scale": 0, "shear": 0})(pixels, generator())
    shifted = Augment(affine={"degrees": 0, "translate": 0.1, "scale": 0, "shear": 0})(pixels, generator())

    assert torch.equal(same, pixels)
    for before, after in zip(pixels[::ROWS], shifted[::ROWS], strict=True):
        moves = [
            (down, right)
            for down in range(-4, 5)  # a tenth of 40 and of 48
            for right in range(-4, 5)
            if torch.equal(
                after[max(down, 0) : 40 + min(down, 0), max(right, 0) : 48 + min(right, 0)],
                before[max(-down, 0) : 40 + min(-down, 0), max(-right, 0) : 48 + min(-right, 0)],
            )
        ]
        assert len(moves) == 1


def test_affine_scales_within_its_limits():
    # given: a white square of 20 x 20 in the middle
    pixels = black(40 * ROWS, 40)
    pixels[:, 10:30, 10:30] = 255

    scaled = Augment(affine={"degrees": 0, "translate": 0, "scale": 0.2, "shear": 0})(pixels, generator())

    sides = (scaled.double().sum((1, 2, 3)) / 255).sqrt()
    assert 16 * 0.98 < sides.min() < 18 and 22 < sides.max() < 24 * 1.02


def test_an_elastic_deformation_moves_pixels_smoothly_within_its_limit():
    # given: pixels that hold their own column, so that the value tells where each is from
    width = 120
    pixels = torch.arange(width, dtype=torch.uint8).repeat(8 * ROWS, 64, 1)[..., None]

    bent = Augment(elastic={"alpha": 100, "sigma": 4})(pixels, generator())

    moved = (bent.double() - pixels.double())[::ROWS, 8:-8, 8:-8, 0]
    # uniform noise has the deviation 1/sqrt(3); a normal filter of sigma leaves 1 / (2 sqrt(pi) sigma) of it, and
    # torchvision gives alpha / 2 pixels of that
    expected = 100 / 2 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 4)
    assert float(moved.std()) == pytest.approx(expected, rel=0.15)
    assert float(moved.abs().max()) < 50
    neighbours = moved[:, :, 1:] - moved[:, :, :-1]
    assert float(neighbours.std()) < 0.35 * expected, "smooth: neighbours move alike"


def test_colour_keeps_the_geometry():
    # given: three flat regions in each image
    pixels = torch.zeros(6 * ROWS, 30, 30, 3, dtype=torch.uint8)
    pixels[:, :10], pixels[:, 10:20], pixels[:, 20:] = (
        torch.tensor(c) for c in ([200, 40, 40], [30, 90, 30], [60] * 3)
    )

    coloured = Augment(color={"strength": 0.5, "hue": 0.1})(pixels, generator())

    for first in (0, 10, 20):
        region = coloured[:, first : first + 10]
        assert torch.equal(region, region[:, :1, :1].expand_as(region)), "a flat region stays flat"
    assert (coloured != pixels).flatten(1).any(dim=1).all()


def test_brightness_alone_multiplies_by_a_factor_within_its_limits():
    pixels = torch.full((200 * ROWS, 2, 2, 1), 100, dtype=torch.uint8)

    changed = Augment(color={"strength": 0, "brightness": 0.3})(pixels, generator())[::ROWS, 0, 0, 0].double()

    assert 69 <= changed.min() < 75 and 125 < changed.max() <= 131
    assert float(changed.mean()) == pytest.approx(100, abs=4)


def test_noise_has_its_deviation_and_is_independent_per_pixel():
    pixels = torch.full((20, 50, 50, 3), 128, dtype=torch.uint8)

    noisy = Augment(noise=0.1)(pixels, generator()).double() - 128

    assert float(noisy.std()) == pytest.approx(0.1 * 255, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0, abs=0.3)
    flat = noisy.flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.06, "no two images have the same noise"


def test_erasing_takes_one_rectangle_of_an_area_and_an_aspect_within_the_limits():
    pixels = torch.full((150 * ROWS, 64, 64, 3), 255, dtype=torch.uint8)
    erase = {"probability": 0.5, "least": 0.1, "most": 0.2, "aspect": 0.5, "fill": 7}

    erased = Augment(erase=erase)(pixels, generator())

    lost = (erased == 7).all(dim=3)[::ROWS]
    hit = lost.flatten(1).any(dim=1)
    # 150 throws of a coin: three standard deviations are 18
    assert abs(int(hit.sum()) - 75) < 19
    for mask in lost[hit]:
        heights, widths = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert int(mask.sum()) == int(heights * widths), "a rectangle"
        assert 0.09 < float(mask.float().mean()) < 0.21
        assert 0.45 < float(heights / widths) < 2.2
    assert (erased[::ROWS][~lost] == 255).all()


def test_an_erased_rectangle_may_be_noise_or_a_square():
    pixels = torch.full((5 * ROWS, 40, 40, 1), 255, dtype=torch.uint8)

    noise = Augment(erase={"probability": 1, "fill": "noise", "least": 0.3, "most": 0.3})(pixels, generator())
    square = Augment(erase={"probability": 1, "least": 0.25, "most": 0.25, "aspect": 1})(pixels, generator())

    values = noise[noise != 255].double()
    assert float(values.mean()) == pytest.approx(127, abs=6) and float(values.std()) == pytest.approx(73.6, abs=4)
    assert ((square == 0).flatten(1).sum(dim=1) == 20 * 20).all()


def test_trivialaugment_and_randaugment_draw_from_torchvisions_list():
    """Each result of one operation is among those of torchvision's own functions, where these need no strength."""
    pixels = images(40 * ROWS)

    changed = Augment(trivialaugment=True)(pixels, generator())

    operations = {"equalize": reference.equalize, "autocontrast": reference.autocontrast, "identity": lambda x: x}
    for name, operation in operations.items():
        expected = operation(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        assert (expected == changed).flatten(1).all(dim=1).any(), name


def test_randaugment_changes_more_where_its_magnitude_is_greater():
    pixels = images(30 * ROWS).double()

    weak, strong = (
        (Augment(randaugment={"magnitude": m})(images(30 * ROWS), generator()).double() - pixels).abs().mean()
        for m in (1, 25)
    )

    assert weak < strong


def test_all_together_run_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = Augment.model_validate(EVERYTHING)(images(6, 33, 40), generator())

    assert out.shape == (6, 33, 40, 3)


WRONG = {
    "crop: 8": "crop: shifts of 8 pixels can move the whole image out, whose side is 8; use 1",
    "rotation: 10": "rotation: an image of one row or column cannot be rotated",
    "affine: 10": "affine: an image of one row or column cannot be rotated",
    "elastic: 50": "elastic: a sigma of 4 smooths over 16 pixels in each direction, but the images have a side of 8; "
    "take at most 1.8",
    "color: true": "color: images of one channel have no colour; leave it out, or change brightness and contrast",
    "color: {saturation: 0}": None,
    "elastic: {sigma: 1.8}": None,
    "erase: {least: 0.01, most: 0.01}": "erase: a share of 0.01 of 8x8 pixels is less than one pixel; raise most",
    "randaugment: true": "randaugment: its operations need 1 or 3 channels, and these images have 4",
    "trivialaugment: true": "trivialaugment: its operations need 1 or 3 channels, and these images have 4",
}
SHAPES = {
    "rotation: 10": (1, 8, 1),
    "affine: 10": (8, 1, 1),
    "randaugment: true": (8, 8, 4),
    "trivialaugment: true": (8, 8, 4),
}


@pytest.mark.parametrize("text", WRONG)
def test_images_that_an_augmentation_cannot_process_are_refused_with_the_fix(text):
    import yaml

    shape = SHAPES.get(text, (8, 8, 1))
    augment = Augment.model_validate(yaml.safe_load(text))

    if WRONG[text] is None:
        augment.check(shape)
        augment(torch.zeros(2, *shape, dtype=torch.uint8), generator())
        return
    with pytest.raises(ValueError) as caught:
        augment.check(shape)
    assert str(caught.value).startswith(WRONG[text])


def test_the_greatest_sigma_that_is_named_works_and_a_greater_one_does_not():
    for side in (5, 8, 28):
        with pytest.raises(ValueError, match="take at most") as caught:
            Augment(elastic={"sigma": side}).check((side, side, 1))
        most = float(str(caught.value).rpartition(" ")[2])
        pixels = torch.zeros(1, side, side, 1, dtype=torch.uint8)

        Augment(elastic={"sigma": most})(pixels, generator())
        with pytest.raises(RuntimeError):
            Augment(elastic={"sigma": most + 0.5})(pixels, generator())


def test_augmentations_are_read_from_switches_values_and_mappings_and_written_as_they_are_read():
    augment = Augment.model_validate(
        {"mirror": "true", "crop": 0, "rotation": 20, "color": {"hue": 0.1}, "noise": False, "trivialaugment": True}
    )

    assert [step.kind for step in augment.root] == ["mirror", "rotation", "color", "trivialaugment"]
    assert str(augment) == "mirror: true, rotation: 20, color: {hue: 0.1}, trivialaugment: true"
    assert Augment.model_validate_json(augment.model_dump_json()) == augment
    assert not Augment() and not Augment(mirror=False, crop=0)
    assert hash(augment) == hash(Augment.model_validate(augment.model_dump()))


def test_the_order_matters_except_for_a_crop_next_to_a_mirror():
    assert Augment(mirror=True, crop=2) == Augment(crop=2, mirror=True)
    assert Augment(mirror=True, rotation=5, crop=2) != Augment(crop=2, mirror=True, rotation=5)
    assert Augment(noise=0.1, rotation=5) != Augment(rotation=5, noise=0.1)

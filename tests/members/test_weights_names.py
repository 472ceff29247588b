"""The architecture that a weights file is named after."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorate.members.weights_names import arch_of_file, weights_below


@pytest.mark.parametrize(
    ("file", "arch"),
    [
        ("mobilenetv2_100.coral_tf2_ptq.safetensors", "mobilenetv2_100"),
        ("tf_efficientnet_lite0.in1k.safetensors", "tf_efficientnet_lite0"),
        ("resnet18.safetensors", "resnet18"),
        ("resnet18-f37072fd.pth", "resnet18"),
        ("resnet18.a1_in1k/model.safetensors", "resnet18"),
    ],
)
def test_a_name_or_a_folder_tells_the_architecture(file: str, arch: str) -> None:
    assert arch_of_file(Path("/weights") / file) == f"timm/{arch}"


@pytest.mark.parametrize("file", ["mine.safetensors", "resnet-18.pth", "model.safetensors", ".safetensors"])
def test_another_name_is_refused_with_the_rule(file: str) -> None:
    with pytest.raises(ValueError, match=r"cannot tell the architecture of .*rename the file to NAME.safetensors"):
        arch_of_file(Path("/weights") / file)


def test_a_folder_lists_its_weights_and_those_of_the_hubs_folders(tmp_path: Path) -> None:
    for name in ("b.pth", "a.safetensors", "LICENSE", "resnet18.a1_in1k/model.safetensors", "other/readme.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    found = [str(path.relative_to(tmp_path)) for path in weights_below(tmp_path)]

    assert found == ["a.safetensors", "b.pth", "resnet18.a1_in1k/model.safetensors"]

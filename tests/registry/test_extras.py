from quorate.registry.extras import how_to_install_package


def test_a_package_is_installed_with_the_others_of_its_extra() -> None:
    command = how_to_install_package("onnxruntime")

    assert "'onnxruntime<2,>=1.22'" in command and "'onnxscript<1,>=0.5'" in command


def test_a_package_of_no_extra_is_installed_alone() -> None:
    assert how_to_install_package("some_package").endswith(" some_package")

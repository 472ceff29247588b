from quorate.registry.extras import how_to_install_package


def test_a_package_is_installed_with_the_others_of_its_extra() -> None:
    command = how_to_install_package("probmetrics")

    assert "'probmetrics<2,>=1.3'" in command
    assert "'numba<1,>=0.61'" in command, "which probmetrics imports, although its own metadata leave it out"


def test_a_package_of_no_extra_is_installed_alone() -> None:
    assert how_to_install_package("some_package").endswith(" some_package")

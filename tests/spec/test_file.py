"""YAML that is valid but not allowed in a job file, and how values are read."""

from __future__ import annotations

import pytest

from quorate.spec import file as jobfile
from quorate.spec.file import SpecError


def read(text: str, *overrides: str) -> dict:
    return jobfile.parse(text, name="job.yaml", overrides=overrides).tree


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text, *overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("010", 10),
        ("+3", 3),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-31", "2024-01-31"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("'3'", "3"),
        ("-.Inf", float("-inf")),
        (".INF", float("inf")),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text, value):
    read_value = read(f"a: {text}\n")["a"]

    assert read_value == value
    assert type(read_value) is type(value)


def test_nan_is_a_number_in_each_spelling():
    assert all(value != value for value in read("a: .nan\nb: .NaN\nc: .NAN\n").values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "job.yaml:3: a: the key 'a' is given twice (first in line 1)"),
        ("a:\n  b: {c: 1,\n    c: 2}\n", "job.yaml:3: a.b.c: the key 'c' is given twice (first in line 2)"),
        ("a: 1\nb: !!python/object:os.system ls\n", "job.yaml:2: YAML tags are not supported; remove the tag"),
        ("a: 1\nb:\n\t- c\n", "job.yaml:3: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: [1\nb: 2\n", "job.yaml:2: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: 1\n---\nb: 1\n", "job.yaml:2: not valid YAML: but found another document"),
        ("- a\n- b\n", "job.yaml:1: a job file must be a mapping of keys to values"),
        ("just words\n", "job.yaml:1: a job file must be a mapping of keys to values"),
        ("a: 1\n? [b]\n: 2\n", "job.yaml:2: a key must be plain text; merge keys are not supported"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "job.yaml:3: c: a key must be plain text; merge keys are not supported"),
        ("a: 1\nb: *x\n", "job.yaml:2: not valid YAML: found undefined alias 'x'"),
        ("a: " + "[" * 500 + "]" * 500, "job.yaml: lists or mappings are nested too deeply to be read"),
    ],
)
def test_yaml_that_a_job_file_cannot_contain_is_refused_with_its_line(text, message):
    assert problems(text) == [message]


def test_a_recursive_anchor_is_refused():
    assert "nested too deeply" in problems("a: &x\n  b: *x\n")[0]


def test_an_integer_of_thousands_of_digits_is_refused_with_its_line():
    (found,) = problems("a: 1\nb: " + "1" * 5_000)

    assert found.startswith("job.yaml:2: b: ") and "digits" in found


def test_all_problems_are_reported_together_in_the_order_of_lines(monkeypatch):
    monkeypatch.delenv("QUORATE_NOT_SET", raising=False)

    found = problems("a: ${QUORATE_NOT_SET}\nb: 1\nb: 2\nc: ${QUORATE_NOT_SET}\n")

    assert [line.split(":")[1] for line in found] == ["1", "3", "4"]


def test_an_empty_file_is_an_empty_mapping():
    assert read("") == read("# only a comment\n") == {}


def test_anchors_stand_for_what_they_name():
    assert read("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_variables_are_expanded_in_every_value(monkeypatch):
    monkeypatch.setenv("QUORATE_SET", "here")
    monkeypatch.delenv("QUORATE_NOT_SET", raising=False)

    tree = read("a: ${QUORATE_SET}/x\nb: ['${QUORATE_NOT_SET:-there}/y', '${QUORATE_NOT_SET:-}']\nc: $QUORATE_SET\n")

    assert tree == {"a": "here/x", "b": ["there/y", ""], "c": "$QUORATE_SET"}


def test_an_unset_variable_is_named_with_its_line_and_the_fix(monkeypatch):
    monkeypatch.delenv("QUORATE_NOT_SET", raising=False)

    assert problems("a: 1\nb:\n  c: ${QUORATE_NOT_SET}/x\n") == [
        "job.yaml:3: b.c: the environment variable QUORATE_NOT_SET is not set; set it, or write "
        "${QUORATE_NOT_SET:-default}"
    ]


def test_overrides_replace_add_and_reach_into_mappings():
    tree = read("a: {b: 1, c: 2}\n", "a.b=1e-2", "a.d.e=[1, x]", "f=no", "a.c=")

    assert tree == {"a": {"b": 0.01, "c": None, "d": {"e": [1, "x"]}}, "f": "no"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.b", "--set a.b: expected KEY=VALUE, for example members.cnn.epochs=3"),
        ("=3", "--set =3: expected KEY=VALUE, for example members.cnn.epochs=3"),
        ("a.b=[1", "--set a.b=[1: a.b: the value '[1' is not valid YAML"),
        ("a.b=!!python/name:os.system", "is not valid YAML"),
        ("a.b.c=3", "--set a.b.c=3: a.b: is 1, not a mapping; set the whole value"),
        ("l.0=3", "--set l.0=3: l: is [1], not a mapping; set the whole value"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    (found,) = problems("a: {b: 1}\nl: [1]\n", override)

    assert message in found


def test_replaced_values_have_no_line_numbers():
    source = jobfile.parse("a:\n  b:\n    c: 1\n  d: 2\n", name="job.yaml", overrides=["a.b={c: 5}"])

    problem = source.problem(("a", "b", "c"), "wrong")
    assert (problem.line, problem.source) == (0, "--set a.b={c: 5}")
    assert source.problem(("a", "d"), "wrong").line == 4


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))

    for name, message in (("none.yaml", "cannot read the job file: No such file"), ("latin.yaml", "not UTF-8")):
        with pytest.raises(SpecError, match=message) as caught:
            jobfile.read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert jobfile.read(tmp_path / "job.yaml").tree == {"a": 1}

"""CSV and Parquet files are read, or refused with the key and the line."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quorate.data.signature import Column, TableSignature, signature_from_json
from quorate.data.source import DataError, OpenedData, TestSplit
from quorate.data.sources.csv import Csv, CsvParams
from quorate.data.sources.parquet import Parquet, ParquetParams
from quorate.data.table import Table
from quorate.data.table_files import read_table
from quorate.data.table_readers import CsvFormat, FrameError
from quorate.errors import UserError
from quorate.spec import load_job
from quorate.spec.file import SpecError

PEOPLE = """\
age, work, zip, member, income
39, State-gov, 01234, yes, <=50K
50, ?, 00501, no, >50K
?, Private , 90210, yes, <=50K
28, Private, 10115, no, <=50K
"""


@pytest.fixture
def write(tmp_path):
    def save(text: str | bytes, name: str = "train.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


def csv(train: Path, **rest) -> OpenedData:
    return Csv.open(CsvParams(train=train, **({"label": "income"} | rest)))


def kinds_of(opened: OpenedData) -> dict[str, str]:
    return {column.name: column.kind for column in opened.train.signature.columns}


# What is read


def test_a_csv_file_gives_typed_columns_and_sorted_classes(write):
    opened = csv(write(PEOPLE))

    assert kinds_of(opened) == {"age": "numeric", "work": "categorical", "zip": "numeric", "member": "boolean"}
    frame = opened.train.x.frame
    np.testing.assert_array_equal(frame["age"], [39, 50, np.nan, 28])
    assert frame["work"].astype(object).where(frame["work"].notna(), None).tolist() == [
        *("State-gov", None, "Private", "Private"),
    ]
    np.testing.assert_array_equal(frame["member"], [1, 0, 1, 0])
    assert opened.train.class_names == ("<=50K", ">50K")
    np.testing.assert_array_equal(opened.train.y, [0, 1, 0, 0])
    assert (opened.test, opened.notes) == (None, ())


def test_kinds_can_be_set_and_columns_can_be_dropped(write):
    opened = csv(write(PEOPLE), columns={"zip": "categorical", "age": "ignore"})

    assert kinds_of(opened) == {"work": "categorical", "zip": "categorical", "member": "boolean"}
    assert opened.train.x.frame["zip"].tolist() == ["01234", "00501", "90210", "10115"], "zeros in front are kept"


def test_the_texts_that_mean_missing_can_be_chosen(write):
    text = "a,b,income\n-999,?,x\n3,NA,y\n4,z,x\n"

    opened = csv(write(text), missing=["-999"])

    frame = opened.train.x.frame
    np.testing.assert_array_equal(frame["a"], [np.nan, 3, 4])
    assert frame["b"].tolist() == ["?", "NA", "z"]


def test_numbers_with_spaces_around_their_missing_marks_stay_numbers(write):
    opened = csv(write("a,b,income\n1 , 2,x\n ? ,4 ,y\n3.5,\tNA\t,x\n"))

    assert kinds_of(opened) == {"a": "numeric", "b": "numeric"}
    np.testing.assert_array_equal(opened.train.x.frame["a"], [1, np.nan, 3.5])
    np.testing.assert_array_equal(opened.train.x.frame["b"], [2, 4, np.nan])


@pytest.mark.parametrize(
    ("labels", "names", "y"),
    [
        (["10", "2", "10"], ("2", "10"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["True", "False", "True"], ("False", "True"), [1, 0, 1]),
        (["1.0", "0.0", "1"], ("0", "1"), [1, 0, 1]),
        (["007", "7", "007"], ("007", "7"), [0, 1, 0]),
    ],
    ids=str,
)
def test_labels_are_integers_truth_values_or_text(labels, names, y, write):
    opened = csv(write("a,income\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))))

    assert opened.train.class_names == names
    np.testing.assert_array_equal(opened.train.y, y)


def test_other_separators_quotes_byte_order_marks_and_gzip_are_read(write):
    text = 'a;b;income\n1;"x;y";p\n2;"two\nlines";q\n'
    plain, packed = write(b"\xef\xbb\xbf" + text.encode()), write(gzip.compress(text.encode()), "train.csv.gz")

    for path in (plain, packed):
        opened = csv(path, separator=";")
        assert kinds_of(opened) == {"a": "numeric", "b": "categorical"}
        assert opened.train.x.frame["b"].tolist() == ["x;y", "two\nlines"]


def test_weights_groups_and_times_are_read_and_are_no_features(write):
    text = "a,w,g,t,income\n1,0.5,05,2024-01-02,x\n2,2,5,2024-01-03T12:00,y\n3,0,05,2023-12-31,x\n"

    weighted = csv(write(text), weight="w", groups="g", columns={"t": "ignore"})
    timed = csv(write(text), weight="w", time="t")

    assert kinds_of(weighted) == {"a": "numeric"}
    np.testing.assert_array_equal(weighted.train.weight, np.array([0.5, 2, 0], np.float32))
    np.testing.assert_array_equal(weighted.train.groups, [0, 1, 0])
    assert weighted.train.time is None
    days = [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 3, 12), datetime.datetime(2023, 12, 31)]
    np.testing.assert_array_equal(timed.train.time, [day.replace(tzinfo=datetime.UTC).timestamp() for day in days])


def test_a_test_file_is_read_with_the_kinds_of_the_training_file(write):
    other = write("income,zip,more,age,work\n>50K,501,?,?,Private\n<=50K,x1,z,17,Unheard-of\n", "test.csv")

    opened = csv(write(PEOPLE), test=other, columns={"zip": "categorical", "member": "ignore"})

    assert opened.test.signature == opened.train.signature
    np.testing.assert_array_equal(opened.test.y, [1, 0])
    assert opened.test.x.frame["work"].tolist() == ["Private", "Unheard-of"]
    assert opened.test.x.frame["zip"].tolist() == ["501", "x1"]
    np.testing.assert_array_equal(opened.test.x.frame["age"], [np.nan, 17])


def test_a_test_part_is_held_out_in_whole_groups_or_of_the_latest_rows(write):
    rows = "".join(f"{i},{i // 5},{(i * 7) % 20},{'xy'[i % 2]}\n" for i in range(20))
    path = write("a,g,t,income\n" + rows)

    grouped = csv(path, groups="g", test=TestSplit(fraction=0.25))
    timed = csv(path, time="t", test=TestSplit(fraction=0.25))

    held = set(grouped.test.groups)
    assert len(held) == 1 and len(grouped.test) == 5 and held.isdisjoint(grouped.train.groups)
    assert sorted(timed.test.time) == [15, 16, 17, 18, 19] and timed.train.time.max() == 14


def test_constant_and_empty_columns_are_left_out_with_a_note(write):
    rows = "".join(f"{i},same,,{i % 7},row-{i},{'xy'[i % 2]}\n" for i in range(60))

    path = write("a,c,e,b,id,income\n" + rows)
    opened = csv(path)

    assert kinds_of(opened) == {"a": "numeric", "b": "numeric", "id": "categorical"}
    assert opened.notes == (
        f"{path}: the column 'c' has the same value in every row and is left out",
        f"{path}: the column 'e' has no values and is left out",
        f"{path}: the column 'id' has a different text in every row; if it only identifies the rows, "
        "leave it out with columns: {id: ignore}",
    )


def test_spellings_of_a_category_label_or_group_are_one_value(write):
    text = "a,z,g,income\n1,1,p,true\n2,1.0,p ,TRUE\n3,2.0,\u00a0p,False\n4,3,q,false\n5,,q,True\n"

    opened = csv(write(text), columns={"z": "categorical"}, groups="g")

    assert opened.train.x.frame["z"].astype(object).where(opened.train.x.frame["z"].notna(), None).tolist() == [
        *("1", "1", "2", "3", None),
    ]
    np.testing.assert_array_equal(opened.train.groups, [0, 0, 0, 1, 1])
    assert opened.train.class_names == ("False", "True")
    np.testing.assert_array_equal(opened.train.y, [1, 1, 0, 0, 1])


def test_labels_with_one_spelling_keep_it_and_test_files_can_use_another(write):
    other = write("a,income\n1,TRUE\n2,False\n", "test.csv")

    opened = csv(write("a,income\n1,true\n2,false\n3,true\n"), test=other)

    assert opened.train.class_names == ("false", "true")
    np.testing.assert_array_equal(opened.test.y, [1, 0])


def test_different_words_for_true_and_false_can_be_mixed(write):
    opened = csv(write("a,b,income\n1,yes,x\n2,N,y\n3,T,x\n4,0,y\n5,FALSE,x\n"))

    assert kinds_of(opened) == {"a": "numeric", "b": "boolean"}
    np.testing.assert_array_equal(opened.train.x.frame["b"], [1, 0, 1, 0, 0])


@pytest.mark.parametrize("marks", ["9.96921e36", "9.96921e+36"])
def test_numbers_that_mean_missing_are_missing_in_both_formats(marks, write, tmp_path):
    text = "a,b,income\n1,-999,x\n9.96921e+36,2,y\n3,4,x\n"
    pq.write_table(
        pa.table({"a": [1, 9.96921e36, 3], "b": [-999, 2, 4], "income": ["x", "y", "x"]}), tmp_path / "a.parquet"
    )

    for opened in (
        csv(write(text), missing=["", "-999", marks]),
        parquet(tmp_path / "a.parquet", missing=["", "-999", marks]),
    ):
        np.testing.assert_array_equal(opened.train.x.frame["a"], [1, np.nan, 3])
        np.testing.assert_array_equal(opened.train.x.frame["b"], [np.nan, 2, 4])


@pytest.mark.parametrize(
    ("header", "number"),
    [(",x,income", "{i}"), ("Unnamed: 0,x,income", "{i}"), ("index,x,income", "{i}"), (",x,income", "{j}")],
)
def test_row_numbers_that_pandas_wrote_are_left_out_with_a_note(header, number, write):
    rows = "".join(f"{number.format(i=i, j=(i * 7) % 20)},{i % 3},{'xy'[i % 2]}\n" for i in range(20))

    path = write(f"{header}\n{rows}")
    opened = csv(path)

    assert kinds_of(opened) == {"x": "numeric"}
    name = header.split(",")[0] or "Unnamed: 0"
    numbering = "numbers the rows, as DataFrame.to_csv() does, and is left out"
    assert opened.notes == (f"{path}: the column {name!r} {numbering}",)
    assert len(read_table(path, opened.train.x.signature)) == 20, "rows to predict may have them as well"


def test_row_numbers_can_be_used_as_a_feature_on_request(write):
    rows = "".join(f"{i},{i % 3},{'xy'[i % 2]}\n" for i in range(20))

    opened = csv(write(f"index,x,income\n{rows}"), columns={"index": "numeric"})

    assert kinds_of(opened) == {"index": "numeric", "x": "numeric"}


def test_empty_columns_without_a_name_are_left_out(write):
    path = write("x,income,,\n1,a,,\n2,b,,\n3,a, ,\n")

    opened = csv(path)

    assert kinds_of(opened) == {"x": "numeric"}
    assert opened.notes == tuple(f"{path}: the column 'Unnamed: {i}' has no values and is left out" for i in (2, 3))


def test_numbers_that_are_dates_come_with_a_note(write):
    rows = "".join(f"{i},202401{i:02},{'xy'[i % 2]}\n" for i in range(1, 31))

    (note,) = csv(write(f"x,day,income\n{rows}")).notes

    assert "the column 'day' holds dates such as 20240101 as numbers" in note


def test_texts_among_numbers_that_may_be_names_come_with_a_note(write):
    rows = "".join(f"{i},{'K' if i % 6 == 0 else i % 6},{'xy'[i % 2]}\n" for i in range(60))

    opened = csv(write(f"x,grade,income\n{rows}"))

    assert kinds_of(opened) == {"x": "numeric", "grade": "categorical"}
    assert "'grade' holds numbers and texts ('K' (10 times)), and is treated as categorical" in opened.notes[0]


@pytest.mark.parametrize("format", ["%m/%d/%Y", "%d.%m.%Y %H:%M", "%d-%b-%y", "%b %d, %Y", "%Y/%m/%d", "%I:%M %p"])
def test_dates_of_many_formats_order_the_rows(format, write):
    start = datetime.datetime(2024, 1, 1) if "%p" not in format else datetime.datetime(1970, 1, 1)
    step = datetime.timedelta(days=17) if "%p" not in format else datetime.timedelta(minutes=50)
    moments = [start + ((i * 7) % 20) * step for i in range(20)]
    rows = "".join(f'{i % 3},"{moment.strftime(format)}",{"xy"[i % 2]}\n' for i, moment in enumerate(moments))

    opened = csv(write(f"x,when,income\n{rows}"), time="when")

    np.testing.assert_array_equal(np.argsort(opened.train.time), np.argsort(moments))
    with pytest.raises(DataError, match="'when' holds dates or durations"):
        csv(write(f"x,when,income\n{rows}"))


# What is refused


NUMBERS = [f"{(i * 37) % 100 / 10}" for i in range(60)]


def with_texts(*texts: str) -> str:
    """A file whose column `a` has numbers with fractions from line 2 on, and these texts from line 12 on."""
    cells = [*NUMBERS[:10], *texts, *NUMBERS[10:]]
    return "a,income\n" + "".join(f'"{cell}",{"xy"[i % 2]}\n' for i, cell in enumerate(cells))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_texts("1.2o"),
            "line 12: the column 'a' holds '1.2o', where the other 60 values are numbers; correct the",
        ),
        (
            with_texts(*["unknown"] * 12),
            "line 12: the column 'a' holds 'unknown' (12 times), where the other 60 values",
        ),
        (with_texts("n.d.", "5 %", "?"), "holds 'n.d.', '5 %', where"),
        (
            "a,income\n" + "".join(f'"{i},{i}50",{"xy"[i % 2]}\n' for i in range(1, 10)),
            "thousands separators, such as '1,1",
        ),
        (
            "a,income\n" + "".join(f'"{i},5",{"xy"[i % 2]}\n' for i in range(1, 10)),
            "line 2: the column 'a' holds numbers with decimal commas, such as '1,5'; write plain",
        ),
        ("a,income\n" + "".join(f"{i}%,{'xy'[i % 2]}\n" for i in range(1, 10)), "percent signs, such as '1%'"),
        ("a,income\n" + "".join(f"${i},{'xy'[i % 2]}\n" for i in range(1, 10)), "currency signs, such as '$1'"),
        (
            "a,income\n" + "".join(f"{i} 500,{'xy'[i % 2]}\n" for i in range(1, 10)),
            "thousands separators, such as '1 500'",
        ),
        ("a,income\n" + "".join(f"{i}.5kg,{'xy'[i % 2]}\n" for i in range(1, 10)), "the unit 'kg', such as '1.5kg'"),
        (
            "a,income\n" + "".join(f"0x{i:02X},{'xy'[i % 2]}\n" for i in range(100, 190)),
            "hexadecimal digits, such as '0x64'",
        ),
        ("a,income\n" + "".join(f"({i}.5),{'xy'[i % 2]}\n" for i in range(1, 10)), "brackets for negative numbers"),
        (
            "a,income\n1,x\n2,y\n9.97e36,x\n",
            "line 4: the numeric column 'a' holds 9.97e+36, not a number of at most 1e+30",
        ),
        ("a,income\n1,x\n2,y\n-1e39,x\n", "line 4: the numeric column 'a' holds -1e+39, not a number of at most 1e+30"),
        ("a,income\n1,x\n2,y\n-inf,x\n", "line 4: the numeric column 'a' holds -inf, not a finite number"),
        (
            "name,,a,income\n1,,3,x\n2,b,4,y\n",
            "column 2 has no name, but contains 'b' in line 3; name it in the first line",
        ),
        (",a,income\nr1,3,x\nr2,4,y\n", "column 1 has no name, but contains 'r1' in line 2; name it"),
    ],
    ids=str,
)
def test_mostly_numeric_columns_and_unnamed_columns_are_refused(text, message, write):
    with pytest.raises(DataError) as caught:
        csv(write(text))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    "values", [["1st", "2nd", "3rd"], ["8GB", "16GB", "8GB"], ["12a", "12b", "13a"], ["1-2", "3-4"]]
)
def test_names_that_begin_with_a_number_are_categories_without_a_note(values, write):
    opened = csv(write("x,a,income\n" + "".join(f"{i},{values[i % len(values)]},{'xy'[i % 2]}\n" for i in range(30))))

    assert kinds_of(opened)["a"] == "categorical" and opened.notes == ()


def test_a_column_with_typing_errors_can_be_made_one_of_categories(write):
    assert kinds_of(csv(write(with_texts("1.2o")), columns={"a": "categorical"})) == {"a": "categorical"}


def test_rows_to_predict_must_exist_and_have_numbers_in_range(write):
    signature = TableSignature((Column("a", "numeric"),))

    with pytest.raises(UserError, match=r"rows\.csv, line 3: the numeric column 'a' holds 9\.97e\+36, not a number of"):
        read_table(write("a\n1\n9.97e36\n", "rows.csv"), signature)
    with pytest.raises(UserError, match=r"rows\.csv has no rows"):
        read_table(write("a\n", "rows.csv"), signature)


@pytest.mark.parametrize(
    ("text", "params", "key", "message"),
    [
        (PEOPLE, {"label": "incme"}, "label", "has no column 'incme'; did you mean 'income'? (there are age, work,"),
        (PEOPLE, {"weight": "w"}, "weight", "has no column 'w' (there are"),
        (PEOPLE, {"columns": {"agee": "numeric"}}, "columns", "has no column 'agee'; did you mean 'age'?"),
        (PEOPLE, {"groups": "income"}, "groups", "the column 'income' is already the label"),
        (PEOPLE, {"weight": "age", "columns": {"age": "numeric"}}, "columns", "'age' is the weight and not a feature"),
        (PEOPLE, {"columns": {"work": "numeric"}}, "columns", "train.csv, line 2: the numeric column 'work' holds "),
        (PEOPLE, {"weight": "age"}, "weight", "train.csv, line 4: age: a weight is missing; fill it in"),
        (PEOPLE, {"weight": "work"}, "weight", "line 3: work: a weight is missing"),
        (PEOPLE, {"groups": "work"}, "groups", "line 3: work: the group is missing; if the row is unrelated to all"),
        (PEOPLE, {"time": "work"}, "time", "line 3: work: the time is missing"),
        (PEOPLE, {"time": "member"}, "time", "line 2: member: the time 'yes' is neither a number nor a date"),
        ("a,b,income\n", {}, "train", "train.csv has no rows"),
        ("", {}, "train", "train.csv is empty; its first line must contain the column names"),
        ("a,a,income\n1,2,x\n", {}, "train", "train.csv has two columns named 'a'; give each its own name"),
        ("a,,income\n1,2,x\n", {}, "train", "column 2 has no name, but contains '2' in line 2; name it in the first"),
        (
            "a;b;income\n1;2;x\n",
            {},
            "train",
            "has only the column 'a;b;income': its values are separated by ';', not by ','; set separator: ';'",
        ),
        ("a,income\n1,x\n\n2,y,3\n", {}, "train", "train.csv, line 4: 3 values, but the header names 2 columns"),
        ("a,income\n1,x,3\n2,y,3\n", {}, "train", "train.csv, line 2: 3 values"),
        ('a,income\n"1\n2",x\n2\n', {}, "train", "train.csv, line 4: 1 values, but the header names 2 columns"),
        ('a,income\n1,"x\n2,y\n', {}, "train", "train.csv cannot be read: "),
        (b"a,income\n1,x\n2,\xff\n", {}, "train", "train.csv, line 3 is not UTF-8; save the file in UTF-8"),
        (b"a,income\n1,x\n\x00\x01,\x02\xfe\n", {}, "train", "is not UTF-8"),
        ("a,income\n1,x\n2,\n3,?\n", {}, "label", "line 3: the label 'income' is missing (and in 1 more); fill it in"),
        (
            "a,income\n1,0.5\n2,1.5\n",
            {},
            "label",
            "numbers with fractions, such as 0.5; classes must be integers or text",
        ),
        ("a,income\n1,x\n1,y\n", {}, "train", "has no feature columns besides 'income'"),
        (
            "a,d,income\n1,2024-01-02,x\n2,2024-01-03,y\n",
            {},
            "columns",
            "the column 'd' holds dates or durations, which are not feat",
        ),
        ("a,w,income\n1,-1,x\n2,1,y\n", {"weight": "w"}, "weight", "line 2: w: the weight '-1' is negative"),
        ("a,w,income\n1,0,x\n2,0,y\n", {"weight": "w"}, "weight", "train.csv: w: all weights are 0"),
        ("a,w,income\n1,1e39,x\n2,1,y\n", {"weight": "w"}, "weight", "line 2: w: a weight is '1e+39', more than 1e+30"),
        (
            "a,w,income\n1,1,x\n2,1x,y\n",
            {"weight": "w"},
            "weight",
            "line 3: w: a weight is '1x', which is not a finite",
        ),
        (
            "a,t,income\n1,1,x\n2,inf,y\n",
            {"time": "t"},
            "time",
            "line 3: t: a time is 'inf', which is not a finite number",
        ),
        (
            "a,t,income\n1,31.12.2024,x\n2,32.12.2024,y\n3,01.01.2025,x\n",
            {"time": "t"},
            "time",
            "line 3: t: the time '32.12.2024' is neither a number nor a date such as 2024-12-31",
        ),
        (
            "a,t,income\n1,03/04/2024,x\n2,01/05/2024,y\n",
            {"time": "t"},
            "time",
            "t: dates such as '03/04/2024' can be read in more than one way (month-day-year or day-month-year)",
        ),
        ("a,w,income\n1,inf,x\n2,0,y\n", {"weight": "w"}, "weight", "a weight is 'inf', which is not a finite number"),
    ],
    ids=str,
)
def test_training_rows_that_cannot_be_used_are_refused_with_the_key_to_blame(text, params, key, message, write):
    with pytest.raises(DataError) as caught:
        csv(write(text), **params)

    assert message in str(caught.value)
    assert caught.value.key == key


def test_dates_are_refused_with_both_fixes(write):
    with pytest.raises(DataError) as caught:
        csv(write("a,d,income\n1,2024-01-02,x\n2,2024-01-03,y\n"))

    assert str(caught.value).endswith("leave it out with columns: {d: ignore}; if it orders the rows, set time: d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,income\n1,<=50K\n", "test.csv: the column 'zip' is missing (there are age, income)"),
        ("age,zip\n1,2\n", "test.csv has no column 'income' (there are age, zip)"),
        ("age,zip,income\n1,2,<=50K\n\n4,old,<=50K\n", "test.csv, line 4: the numeric column 'zip' holds 'old'"),
        ("age,zip,income\n1,2,<=50K\n4,1,>50k\n", "line 3: the label '>50k' is not among the classes of the training "),
        ("age,zip,income\n1,2,?\n", "test.csv, line 2: the label 'income' is missing"),
        ("age,zip,income\n", "test.csv has no rows"),
        ("age,zip,income\n1\n", "test.csv, line 2: 1 values, but the header names 3 columns"),
    ],
)
def test_test_rows_that_do_not_fit_are_refused(text, message, write):
    other = write(text, "test.csv")

    with pytest.raises(DataError) as caught:
        csv(write(PEOPLE), test=other, columns={"work": "ignore", "member": "ignore"})

    assert message in str(caught.value)
    assert caught.value.key == "test"


def test_an_unknown_test_label_comes_with_the_nearest_class(write):
    other = write("age,income\n1,>50k.\n", "test.csv")
    ignored = {"work": "ignore", "member": "ignore", "zip": "ignore"}

    with pytest.raises(DataError, match=r"did you mean '>50K'\? \(they are <=50K, >50K\)"):
        csv(write(PEOPLE), test=other, columns=ignored)


def test_a_folder_instead_of_a_csv_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        csv(tmp_path)


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ("label: y, groups: g, time: t", "data.time", "split by groups or by time, not by both"),
        ("label: y, columns: {a: number}", "data.columns.a", "'number' is not one of"),
        ("label: y, separator: ';;'", "data.separator", "at most 1 character"),
        ("lable: y", "data.lable", "did you mean 'label'?"),
    ],
)
def test_a_job_file_with_wrong_keys_of_tables_is_refused_with_its_place(data, place, message, write, job_file):
    write("a,y\n1,x\n")
    path = job_file(f"data: {{kind: csv, train: train.csv, {data}}}\nmembers: {{l: {{kind: logistic}}}}\n")

    with pytest.raises(SpecError) as caught:
        load_job(path)

    assert place in str(caught.value) and message in str(caught.value)


def test_names_and_missing_marks_may_look_like_numbers_in_the_job_file(write, job_file):
    write("1,2\n-999,x\n1,y\n2,y\n")
    path = job_file(
        "data: {kind: csv, train: train.csv, label: 2, missing: [-999], columns: {1: numeric}}\n"
        "members: {l: {kind: logistic}}\n"
    )

    opened = Csv.open(load_job(path).spec.data)

    np.testing.assert_array_equal(opened.train.x.frame["1"], [np.nan, 1, 2])


# Parquet


def parquet(path: Path, **rest) -> OpenedData:
    return Parquet.open(ParquetParams(train=path, **({"label": "income"} | rest)))


def test_a_parquet_file_gives_the_same_rows_as_the_csv_file(write, tmp_path):
    frame = pd.DataFrame(
        {
            "age": [39, 50, None, 28],
            "work": pd.Categorical(["State-gov", "?", "Private", "Private"]),
            "zip": [1234, 501, 90210, 10115],
            "member": [True, False, True, False],
            "income": ["<=50K", ">50K", "<=50K", "<=50K"],
        },
        index=[7, 8, 9, 3],
    )
    frame.to_parquet(tmp_path / "train.parquet")

    opened = parquet(tmp_path / "train.parquet")

    assert kinds_of(opened) == {"age": "numeric", "work": "categorical", "zip": "numeric", "member": "boolean"}
    assert opened.train.fingerprint == csv(write(PEOPLE)).train.fingerprint


def test_parquet_folders_dates_nulls_and_texts_for_missing_values_are_read(tmp_path):
    for part in range(2):
        table = pa.table(
            {
                "flag": [True, None],
                "text": ["?", "word"],
                "day": [datetime.date(2024, 1, 1 + part), datetime.date(2023, 1, 1)],
                "income": pa.array([1, 0], pa.int8()),
            }
        )
        pq.write_table(table, tmp_path / f"{part}.parquet")

    opened = parquet(tmp_path, time="day", columns={"text": "categorical"}, missing=["word"])

    assert kinds_of(opened) == {"flag": "boolean", "text": "categorical"}
    np.testing.assert_array_equal(opened.train.x.frame["flag"], [1, np.nan, 1, np.nan])
    np.testing.assert_array_equal(opened.train.x.frame["text"].isna(), [False, True, False, True])
    assert opened.train.class_names == ("0", "1")
    np.testing.assert_array_equal(opened.train.time / 86400, [19723, 19358, 19724, 19358])


@pytest.mark.parametrize(
    ("columns", "key", "message"),
    [
        ({"a": [[1], [2]], "income": ["x", "y"]}, "columns", "the column 'a' holds ndarray; it must hold numbers"),
        (
            {"a": [{"b": 1}, {"b": 2}], "income": ["x", "y"]},
            "columns",
            "'a' holds dict; it must hold numbers, truth values",
        ),
        (
            {"a": [b"\xff", b"a"], "income": ["x", "y"]},
            "columns",
            "'a' holds bytes that are not UTF-8 text; leave it out",
        ),
        (
            {"a": [1, 2], "income": [[1], [2]]},
            "label",
            "the label 'income' holds ndarray; classes must be integers or text",
        ),
        ({"a": [1, 2], "income": ["x", None]}, "label", "row 2: the label 'income' is missing"),
        ({"a": [1, 2], "income": [0.5, 1.0]}, "label", "numbers with fractions"),
        ({"a": pa.array([1, 2], pa.timestamp("s")), "income": ["x", "y"]}, "columns", "holds dates"),
        ({"a": pa.array([], pa.int8()), "income": pa.array([], pa.string())}, "train", "has no rows"),
    ],
)
def test_parquet_columns_that_cannot_be_used_are_refused(columns, key, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")

    with pytest.raises(DataError) as caught:
        parquet(tmp_path / "train.parquet")

    assert message in str(caught.value)
    assert caught.value.key == key


def test_files_that_are_not_parquet_are_refused(write, tmp_path):
    with pytest.raises(DataError, match="cannot be read as Parquet: ") as caught:
        parquet(write(PEOPLE))
    assert caught.value.key == "train"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="has two columns named 'a'"):
        parquet(tmp_path / "twice.parquet")


# Rows to predict


SIGNATURE = TableSignature((Column("zip", "categorical"), Column("age", "numeric")))


def test_rows_to_predict_are_read_by_their_signature(write, tmp_path):
    comma = write(PEOPLE)
    tabs = write(PEOPLE.replace(", ", "\t"), "train.tsv")
    pd.DataFrame({"age": [39, 50, None, 28], "zip": ["01234", "00501", "90210", "10115"]}).to_parquet(
        tmp_path / "rows.parquet"
    )

    tables = [read_table(path, SIGNATURE) for path in (comma, tabs, tmp_path / "rows.parquet")]

    assert tables[0].frame["zip"].tolist() == ["01234", "00501", "90210", "10115"]
    assert len({table.digest() for table in tables}) == 1


def test_rows_to_predict_that_do_not_fit_are_refused_with_their_place(write):
    with pytest.raises(UserError, match=r"rows\.csv, line 3: the numeric column 'age' holds 'old'"):
        read_table(write("zip,age\n1,2\n1,old\n", "rows.csv"), SIGNATURE)
    with pytest.raises(UserError, match=r"rows\.csv: the column 'zip' is missing"):
        read_table(write("zap,age\n1,2\n", "rows.csv"), SIGNATURE)
    with pytest.raises(FrameError, match=r"rows\.txt: the name of a table must end in \.csv"):
        read_table(write("zap,age\n1,2\n", "rows.txt"), SIGNATURE)


def test_lines_are_counted_over_quoted_line_breaks_and_blank_lines(write):
    path = write('a,b\n"1\n1",2\n\n3,4\n   \n5,6\n')

    places = [CsvFormat().place(path, row) for row in range(3)]

    assert places == ["line 2", "line 5", "line 7"]
    assert CsvFormat().read(path)["b"].tolist() == [2, 4, 6]


def test_version_numbers_stay_distinct_as_categories_labels_and_groups(write):
    header = "a,v,g,release\n"
    other = write(header + "7,1.0,p,1\n8,1,p,1.0\n9,2.0,p,2.0\n", "test.csv")
    text = header + "1,1,1,1.0\n2,1.0,1.0,1\n3,1.0.3,v2,1.0.3\n4,2,1,2.0\n5,1.0,1,1\n6,1,v2,1.0\n"

    opened = csv(write(text), label="release", groups="g", test=other)

    assert opened.train.x.frame["v"].tolist() == ["1", "1.0", "1.0.3", "2", "1.0", "1"]
    assert opened.train.class_names == ("1", "1.0", "1.0.3", "2.0")
    np.testing.assert_array_equal(opened.train.y, [1, 0, 2, 3, 0, 1])
    np.testing.assert_array_equal(opened.train.groups, [0, 1, 2, 0, 0, 2])
    assert opened.test.x.frame["v"].tolist() == ["1.0", "1", "2.0"]
    np.testing.assert_array_equal(opened.test.y, [0, 1, 3])
    later = pd.DataFrame({"a": [1, 2], "v": ["1.0", "1"]})
    signature = signature_from_json(opened.train.x.signature.to_json())
    assert Table.of(later, signature).frame["v"].tolist() == ["1.0", "1"], "without the other cells too"


def test_names_that_are_whole_numbers_in_one_spelling_are_found_in_another(write):
    other = write("a,z,income\n1,7,x\n2,8.0,y\n", "test.csv")

    opened = csv(write("a,z,income\n1,7.0,x\n2,8.0,y\n3,unknown,x\n"), test=other, columns={"z": "categorical"})

    assert opened.train.x.frame["z"].tolist() == ["7", "8", "unknown"]
    assert opened.test.x.frame["z"].tolist() == ["7", "8"]
